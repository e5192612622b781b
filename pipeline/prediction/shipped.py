"""The detector that `predict` takes when nobody names one: only one that passed the gate, which
is asked again from its scores every time. None ships yet.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from unmask.pipeline.disk.files import read_bounded
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.scores.gate import STUDY, answer

SHIPPED = Path(__file__).with_name("shipped_run")
# What `python -m benchmarks.openclips --scores` wrote for this very run.
RECORD = "openclips.csv"
MOST_BYTES = 10_000_000

NONE_SHIPS = (
    f"no run lies under runs/ and unmask ships none: {STUDY}, and the released MesoNet gets "
    "0.75 [0.50, 0.95] on hand-made swaps where face blur gets 0.80; make one of real faces: "
    "`unmask extract --dataset folder --root FACES --clips 1 --frames 1`, `unmask train "
    "--model lite --recipe real_only --manifest manifests/folder/none/train.txt`"
)


def shipped_run(folder: Path = SHIPPED) -> Path | None:
    """The run folder that came with unmask, None where none did.

    Raises CheckpointError for one whose scores on the open clips do not pass the gate.
    """
    if not folder.is_dir():
        return None
    path = folder / RECORD
    text = read_bounded(path, MOST_BYTES, CheckpointError).decode(errors="replace")
    try:
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["counts"] == "1"]
        label = np.array([int(row["label"]) for row in rows])
        score = np.array([float(row["score"]) for row in rows])
        pair, group = [row["pair"] for row in rows], [row["group"] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not scores of open clips ({error!r:.60})") from error
    found = answer(label, score, pair, group)
    if not found.passed:
        raise CheckpointError(f"{folder}: did not pass the gate: {'; '.join(found.reasons)}")
    return folder
