"""Which runs lie in a folder, and which of them is newest or can answer.

Names on the disk say so: a command that asks for no more starts without torch.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.errors import UsageError

RUN_FILE = "run.json"
CHECKPOINTS = "checkpoints"
# What a user asks for -> the kind of checkpoint.
KINDS = {"best": "best", "last": "step"}
NUMBERED = re.compile(r"(\d{4,})-[A-Za-z0-9._-]+")


def list_runs(root: Path) -> list[Path]:
    """Folders with a run.json under `root`: numbered ones newest first, then the others by name."""
    by_number = [folder for _, folder in sorted(numbered(root), reverse=True)]
    others = (
        sorted(path for path in root.iterdir() if path not in by_number) if root.is_dir() else []
    )
    return [folder for folder in [*by_number, *others] if (folder / RUN_FILE).is_file()]


def newest_run(root: Path) -> Path:
    """The run made last. Raises UsageError when there is none."""
    runs = list_runs(root)
    if not runs:
        raise UsageError(f"{root}: no training run here; train first, or name one with --run")
    return runs[0]


def newest_answering_run(root: Path, which: str = "best") -> Path:
    """The newest run that has a checkpoint to answer with, its best or `last`.

    Raises UsageError when there is no run, or none with such a checkpoint.
    """
    newest = newest_run(root)
    for folder in list_runs(root):
        if saved(folder, KINDS[which]):
            return folder
    raise UsageError(
        f"{root}: no run here has a checkpoint ({which}) yet; {newest.name} is the newest, train "
        "it on first"
    )


def numbered(root: Path) -> list[tuple[int, Path]]:
    """(number, folder) of every numbered run under `root`, with a run.json or not, in no order."""
    if not root.is_dir():
        return []
    return [
        (int(match[1]), path) for path in root.iterdir() if (match := NUMBERED.fullmatch(path.name))
    ]


def saved(run: Path, kind: str = "step") -> list[Path]:
    """The run's checkpoints of one kind (step or best), newest first."""
    found = (run / CHECKPOINTS).glob(f"{kind}-*")
    return sorted((path for path in found if path.name.split("-")[1].isdigit()), reverse=True)
