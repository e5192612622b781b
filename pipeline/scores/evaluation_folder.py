"""One evaluation on disk: scores.csv, the file all numbers come from, and metrics.json, every
number with its settings and hashes.

A name is always the newest evaluation of it, whole; the ones before it are kept beside it:
evaluations/ffpp-c23-test, evaluations/older/ffpp-c23-test-1, -2, and so on, the oldest first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from unmask.pipeline.disk.files import refusals, sync_folder, write_whole
from unmask.pipeline.disk.folders import remove_stale, scratch_folder
from unmask.pipeline.scores.json_fields import read_fields
from unmask.pipeline.scores.results import Result

FOLDER, OLDER = "evaluations", "older"
SCORES, METRICS_FILE = "scores.csv", "metrics.json"

# What metrics.json holds as one value.
Plain = str | int | float | bool | None


@dataclass(frozen=True)
class Evaluation:
    """What one manifest gave.

    name: of the manifest, e.g. ffpp-c23-test.
    folder: where everything lies.
    cautions: what a reader must know first.
    provenance: title -> name -> value: run, data, pixels and versions.
    robustness: title of each perturbation, the video AUC of clean crops, then of each level; None
        when it was not asked for.
    """

    name: str
    folder: Path
    result: Result
    cautions: Sequence[str] = ()
    provenance: dict[str, dict[str, Plain]] = field(default_factory=dict)
    robustness: Sequence[Sequence[str | float | None]] | None = None

    def as_json(self) -> dict[str, object]:
        """metrics.json as an object."""
        raw = {
            "name": self.name,
            "cautions": list(self.cautions),
            **self.result.as_json(),
            "provenance": self.provenance,
        }
        if self.robustness is not None:
            raw["robustness"] = [list(row) for row in self.robustness]
        return raw


@contextlib.contextmanager
def new_evaluation(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block ends without an exception.

    What had this name moves to `older/`; when the block fails it stays, and nothing of the new one
    is left.
    Raises DiskError when the file system refuses.
    """
    with refusals(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target.parent)
    with scratch_folder(target) as folder:
        yield folder
        with refusals(target):
            sync_folder(folder)
            while not _renamed(folder, target):
                set_aside(target)
            sync_folder(target.parent)


def set_aside(path: Path) -> None:
    """Move a file or folder into `older/` beside it, under the next number; absent is fine."""
    if not os.path.lexists(path):
        return
    older = path.parent / OLDER
    older.mkdir(exist_ok=True)
    suffix = "" if path.is_dir() else path.suffix
    stem = path.name.removesuffix(suffix)
    place = next(p for n in count(1) if not os.path.lexists(p := older / f"{stem}-{n}{suffix}"))
    os.rename(path, place)
    sync_folder(older)


def _renamed(folder: Path, target: Path) -> bool:
    """Whether the name was free; another evaluation may have taken it a moment ago."""
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    return True


def write_metrics(folder: Path, evaluation: Evaluation) -> None:
    """Put metrics.json into a folder, whole."""
    text = json.dumps(evaluation.as_json(), indent=1, allow_nan=False) + "\n"
    write_whole(folder / METRICS_FILE, text.encode())


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation of a folder, from its metrics.json.

    Raises ScoresError naming the file, and the field that is absent, of another type or out of
    range.
    """
    raw = read_fields(folder / METRICS_FILE)
    provenance = {
        title: {name: facts.plain(name) for name in facts}
        for title, facts in raw.objects("provenance")
    }
    return Evaluation(
        name=raw.text("name"),
        folder=folder,
        result=Result.from_json(raw),
        cautions=raw.texts("cautions"),
        provenance=provenance,
        robustness=raw.rows("robustness") if raw.has("robustness") else None,
    )
