"""One line of the `runs` table: what a run was, and how far it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unmask.pipeline.runs.run_folder import METRICS, SPEED, open_run


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl file; a half-written last line (a killed run) ends it."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def summary(folder: Path) -> dict[str, Any]:
    """One row of the runs table: what it is, how far it came, its best validation and its speed."""
    run = open_run(folder)
    lines, speeds = list(read_lines(folder / METRICS)), list(read_lines(folder / SPEED))
    losses = [
        line["loss"]
        for line in lines
        if line.get("kind") == "step" and line.get("loss") is not None
    ]
    best = max((line for line in lines if line.get("kind") == "epoch"), key=_rank, default={})
    device = run.document.get("device")
    return {
        "run": folder.name,
        "model": run.model,
        "recipe": run.config.recipe,
        "manifest": run.config.manifest,
        "seed": run.config.seed,
        "steps": max((line.get("step", 0) for line in lines), default=0),
        "epochs": sum(line.get("kind") == "epoch" for line in lines),
        "loss": losses[-1] if losses else None,
        "auc": best.get("auc"),
        "best_epoch": best.get("epoch"),
        "clips_per_second": speeds[-1].get("clips_per_second") if speeds else None,
        "wait": speeds[-1].get("wait") if speeds else None,
        "device": device.get("name") if isinstance(device, dict) else None,
    }


def _rank(line: dict[str, Any]) -> tuple[float, float]:
    return rank(line.get("auc"), line.get("log_loss"))


def rank(auc: float | None, log_loss: float | None) -> tuple[float, float]:
    """What 'best' means: the higher video AUC (0 where undefined), and of equal ones the lower
    log-loss.
    """
    return (auc if auc is not None else 0.0, -log_loss if log_loss is not None else float("-inf"))
