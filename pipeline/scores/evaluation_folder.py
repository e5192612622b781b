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
from unmask.pipeline.disk.folders import exchange, scratch_folder
from unmask.pipeline.disk.permissions import like_parent
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import ScoresError
from unmask.pipeline.scores.json_fields import read_fields
from unmask.pipeline.scores.results import Block, Result

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
    probe: the numbers of a linear probe, video level; None when it was not asked for.
    """

    name: str
    folder: Path
    result: Result
    cautions: Sequence[str] = ()
    provenance: dict[str, dict[str, Plain]] = field(default_factory=dict)
    robustness: Sequence[Sequence[str | float | None]] | None = None
    probe: Block | None = None

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
        if self.probe is not None:
            raw["probe"] = self.probe.as_json()
        return raw


@contextlib.contextmanager
def new_evaluation(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block ends without an exception.

    What had this name moves to `older/`, in the same step where the file system can exchange names:
    stopped at any moment, the name is the old or the new one. When the block fails it stays, and
    nothing of the new one is left.
    Raises DiskError when the file system refuses.
    """
    with refusals(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target.parent)
    with scratch_folder(target) as folder:
        yield folder
        with refusals(target):
            sync_folder(folder)
            while not (_renamed(folder, target) or _exchanged(folder, target)):
                _set_aside(target)
            sync_folder(target.parent)


def keep_older(path: Path) -> None:
    """Give a file a second name in `older/` beside it, under the next number; it keeps its own
    until it is replaced. Absent is fine.

    Raises: OSError.
    """
    if not os.path.lexists(path):
        return
    older = _next_older(path)
    try:
        os.link(path, older, follow_symlinks=False)
        sync_folder(older.parent)
    except OSError as error:  # a file system without hard links
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        _set_aside(path)


def _exchanged(folder: Path, target: Path) -> bool:
    """Whether a folder could take the place of `target` in one step; the old one is then among the
    older ones.

    The new one first stands among them itself, so that at no moment either lies under a name that
    cleaning up would take.
    """
    if not target.is_dir():
        return False
    older = _next_older(target)
    os.rename(folder, older)
    if exchange(older, target):
        sync_folder(older.parent)
        return True
    os.rename(older, folder)
    return False


def _set_aside(path: Path) -> None:
    older = _next_older(path)
    os.rename(path, older)
    sync_folder(older.parent)


def _next_older(path: Path) -> Path:
    """The next free name in `older/`, which is made where it lacks."""
    older = path.parent / OLDER
    like_parent(older)
    suffix = "" if path.is_dir() else path.suffix
    stem = path.name.removesuffix(suffix)
    return next(p for n in count(1) if not os.path.lexists(p := older / f"{stem}-{n}{suffix}"))


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


def cautions_beside(scores: Path) -> tuple[str, ...]:
    """What a reader of an evaluation's scores file must know first, from the metrics.json beside
    it; nothing of a file that lies elsewhere. One that cannot be read is a caution itself.
    """
    path = scores.parent / METRICS_FILE
    if scores.name != SCORES or not path.is_file():
        return ()
    try:
        return tuple(read_fields(path).texts("cautions"))
    except ScoresError:
        return (f"Its {METRICS_FILE} cannot be read, so what it warned of is not known.",)
