"""One line of the `runs` table: what a run was, and how far it came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from unmask.pipeline.disk.files import json_lines
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.run_folder import METRICS, SPEED, open_run

MAX_LINE = 2**16


@dataclass(frozen=True)
class Line:
    """One line of metrics.jsonl or speed.jsonl: only what the table shows of it."""

    kind: str = ""
    step: int = 0
    loss: float | None = None
    auc: float | None = None
    log_loss: float | None = None
    epoch: int | None = None
    clips_per_second: float | None = None
    wait: float | None = None


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a run's .jsonl file; a half-written last one (a killed run) ends it.

    Raises: CheckpointError naming file and line.
    """
    shown = {field.name for field in fields(Line)}
    for number, line in json_lines(path, MAX_LINE, CheckpointError, growing=True):
        known = {name: value for name, value in line.items() if name in shown}
        yield record_of(Line, known, f"{path}:{number}", CheckpointError)


def summary(folder: Path) -> dict[str, Any]:
    """One row of the runs table: what it is, how far it came, its best validation and its speed.

    Raises: CheckpointError for a run whose records are damaged.
    """
    run = open_run(folder)
    lines, speeds = list(read_lines(folder / METRICS)), list(read_lines(folder / SPEED))
    losses = [line.loss for line in lines if line.kind == "step" and line.loss is not None]
    best = max((line for line in lines if line.kind == "epoch"), key=_rank, default=Line())
    device = run.document.get("device")
    return {
        "run": folder.name,
        "model": run.model,
        "recipe": run.config.recipe,
        "manifest": run.config.manifest,
        "seed": run.config.seed,
        "steps": max((line.step for line in lines), default=0),
        "epochs": sum(line.kind == "epoch" for line in lines),
        "loss": losses[-1] if losses else None,
        "auc": best.auc,
        "best_epoch": best.epoch,
        "clips_per_second": speeds[-1].clips_per_second if speeds else None,
        "wait": speeds[-1].wait if speeds else None,
        "device": device.get("name") if isinstance(device, dict) else None,
    }


def _rank(line: Line) -> tuple[float, float]:
    return rank(line.auc, line.log_loss)


def rank(auc: float | None, log_loss: float | None) -> tuple[float, float]:
    """What 'best' means: the higher video AUC (0 where undefined), and of equal ones the lower
    log-loss.
    """
    return (auc if auc is not None else 0.0, -log_loss if log_loss is not None else float("-inf"))
