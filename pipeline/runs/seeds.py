"""Runs that differ by their seed only."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.newest import list_runs
from unmask.pipeline.runs.run_folder import Run, open_run

# What a run's configuration may say otherwise without being another experiment.
IDLE = ("seed", "threads", "tensorboard", "checkpoint_steps", "devices", "device")


def experiment(run: Run) -> str:
    """Equal for two runs exactly where they differ by no more than their seed."""
    config = {name: value for name, value in asdict(run.config).items() if name not in IDLE}
    # where the same things lie is no part of it
    for place in ("manifest", "val", "cache", "store"):
        del config[place]
    validation = run.document.get("val")
    other = validation.get("sha256") if isinstance(validation, dict) else None
    pixels = [run.key, run.manifest_sha256, other]
    return json.dumps([config, run.document.get("recipe"), pixels], sort_keys=True)


def by_experiment(folders: Iterable[Path]) -> list[list[Run]]:
    """Runs of one experiment and different seeds together, in the order of the folders; of equal
    seeds the first. Runs whose run.json cannot be read are left out.
    """
    groups: dict[str, dict[int, Run]] = defaultdict(dict)
    for folder in folders:
        try:
            run = open_run(folder)
        except CheckpointError:
            continue
        groups[experiment(run)].setdefault(run.config.seed, run)
    return [list(group.values()) for group in groups.values()]


def siblings(folder: Path) -> list[Run]:
    """The runs beside `folder` of the same experiment, itself included, by seed.

    Raises CheckpointError where its run.json cannot be read.
    """
    wanted = experiment(open_run(folder))
    folders = [folder, *(f for f in list_runs(folder.parent) if f.resolve() != folder.resolve())]
    for group in by_experiment(folders):
        if experiment(group[0]) == wanted:
            return sorted(group, key=lambda run: run.config.seed)
    return []
