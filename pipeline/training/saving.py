"""From a training to its checkpoints and back: what is written after a step, and how to go on."""

from __future__ import annotations

import errno
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

from torch import nn

from unmask.pipeline.disk.files import refusals
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.newest import CHECKPOINTS, saved
from unmask.pipeline.training.progress import Progress
from unmask.pipeline.training.setup import Setup, identity

log = logging.getLogger(__name__)

# Newest checkpoints kept: the last one may turn out to be damaged.
KEEP = 2


def refuse_full_disk(setup: Setup, run: Path) -> None:
    """Refuse a run whose checkpoints do not fit on the disk, before its first step.

    At most KEEP + 1 whole checkpoints and two of the best weights lie there at a time, one of each
    just being written; those that the run has already count as free.
    Raises: DiskError with the bytes needed and free.
    """
    weights = _bytes_of(setup.network)
    if setup.ema is not None:
        weights += _bytes_of(setup.ema.module)
    learning = [p for group in setup.optimizer.param_groups for p in group["params"]]
    moments = 1 if setup.recipe.optimizer in ("sgd", "sam") else 2
    optimizer = moments * sum(p.numel() * p.element_size() for p in learning)
    needed = (KEEP + 1) * (weights + optimizer) + 2 * weights
    written = [
        path.stat().st_size
        for kind in ("step", "best")
        for folder in saved(run, kind)
        for path in folder.iterdir()
    ]
    place = next(place for place in (run, *run.absolute().parents) if place.exists())
    with refusals(run, needed):
        free = shutil.disk_usage(place).free + sum(written)
        if free < needed:
            raise OSError(errno.ENOSPC, "not enough space for this run's checkpoints")


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def save(setup: Setup, progress: Progress, run: Path, *, best: bool = False) -> Path:
    """Write a checkpoint from the first process while the others wait; returns its folder.

    best: the weights alone, in place of the best ones so far.
    Raises: DiskError when the file system refuses; the older checkpoints are then untouched.
    """
    name = f"{'best' if best else 'step'}-{progress.step:08d}"
    if setup.fabric.is_global_zero:
        tensors, rest = checkpoint.split_optimizer(setup.optimizer.state_dict())
        state = {
            "identity": identity(setup),
            "progress": asdict(progress),
            "optimizer": rest,
            "scaler": setup.fabric.strategy.precision.state_dict(),
        }
        parts = {
            "model": setup.network.state_dict(),
            "optimizer": None if best else tensors,
            "ema": None if setup.ema is None else setup.ema.module.state_dict(),
        }
        checkpoint.save(run, name, state, parts, keep=1 if best else KEEP)
    setup.fabric.barrier()
    return run / CHECKPOINTS / name


def restore(setup: Setup, run: Path) -> Progress:
    """Go back to the newest whole checkpoint of a run; without one the run starts from its seed.

    Raises: CheckpointError for other settings, other pixels, or when every checkpoint is damaged.
    """
    if not saved(run):
        if setup.fabric.is_global_zero:
            checkpoint.forget_after(run, 0)
        log.info("%s has no checkpoint yet; it starts from the beginning", run)
        return Progress()
    point = checkpoint.newest(run)
    checkpoint.belongs(point.state.get("identity", {}), identity(setup), point.folder)
    checkpoint.load_into(setup.network, point.model, point.folder)
    checkpoint.load_optimizer(setup.optimizer, point)
    progress = record_of(
        Progress, point.state.get("progress"), point.folder, CheckpointError, "progress."
    )
    if setup.ema is not None:
        checkpoint.load_into(setup.ema.module, point.ema or {}, point.folder)
        setup.ema.n_averaged.fill_(progress.step - progress.skipped)
    setup.fabric.strategy.precision.load_state_dict(point.state.get("scaler", {}))
    setup.fabric.barrier()
    if setup.fabric.is_global_zero:
        checkpoint.forget_after(run, progress.step)
    return progress
