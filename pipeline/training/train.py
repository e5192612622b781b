"""Train a detector from a manifest: the one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unmask.models.options import ModelError
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.disk.files import refusals
from unmask.pipeline.disk.permissions import private_folder
from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.interrupts import Interrupts
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.newest import saved
from unmask.pipeline.runs.run_folder import new_run, write_run
from unmask.pipeline.training.curves import Curves
from unmask.pipeline.training.fabric import build_fabric
from unmask.pipeline.training.head import head_loop
from unmask.pipeline.training.knowledge import knowledge_of
from unmask.pipeline.training.loop import Report, loop
from unmask.pipeline.training.progress import Progress, Result, Started
from unmask.pipeline.training.saving import refuse_full_disk, restore
from unmask.pipeline.training.setup import Setup, build_setup, facts, parameter_count


def train(
    config: TrainConfig,
    runs: Path = Path("runs"),
    *,
    run: Path | None = None,
    resume: bool = False,
    expected: dict[str, str] | None = None,
    report: Report | None = None,
    started: Callable[[Started], None] | None = None,
) -> Result:
    """Train one model and return where it lies and how it ended.

    run: its folder; None makes the next one under `runs`.
    resume: go on from its newest checkpoint.
    expected: sha256 by `manifest` or `val`, as another run's run.json has them.
    started: called once before the first step, in every process.
    report: called after every step, in the first process.
    Raises: UsageError, ManifestError, CacheError, CheckpointError, DiskError (no space for its
    checkpoints) before the first step; TrainError on lost steps, DiskError when the disk is full.
    """
    fabric = build_fabric(config)
    fabric.launch()
    try:
        goes_on = resume and run is not None and bool(saved(run))
        setup = build_setup(config, fabric, restored=goes_on)
    except ModelError as error:
        raise UsageError(str(error)) from error
    _refuse_other_manifests(setup, expected or {})
    refuse_full_disk(setup, runs if run is None else run)
    if run is None and fabric.is_global_zero:
        run = new_run(runs, config.model, Path(config.manifest))
    run = Path(fabric.broadcast(str(run)))
    progress = restore(setup, run) if resume else Progress()
    if fabric.is_global_zero:
        with refusals(run):
            private_folder(run)
        knowledge = knowledge_of(setup.source, setup.validation)
        write_run(run, setup.config, facts(setup) | {"knowledge": knowledge.as_json()})
    if started is not None:
        started(_started(setup, progress, run))
    code = _walk(setup, progress, run, report)
    return Result(run, progress, code)


def _walk(setup: Setup, progress: Progress, run: Path, report: Report | None) -> int:
    """The loop with its curves open and its signals caught; returns the exit code."""
    curves = Curves(
        run,
        progress.log_bytes,
        progress.step,
        write=setup.fabric.is_global_zero,
        tensorboard=setup.config.tensorboard,
    )
    with Interrupts() as stop, curves:
        try:
            walk = head_loop if setup.config.features else loop
            return walk(setup, progress, run, curves, stop, report)
        except ModelError as error:  # a side or a number of frames that the network cannot take
            raise UsageError(str(error)) from error


def _refuse_other_manifests(setup: Setup, expected: dict[str, str]) -> None:
    """Raises CheckpointError where a manifest is not the one whose sha256 is expected."""
    found = {
        "manifest": setup.source.sha256,
        "val": setup.validation.sha256 if setup.validation else "",
    }
    wanted = {name: found[name] for name in expected}
    checkpoint.belongs(expected, wanted, Path(setup.config.manifest))


def _started(setup: Setup, progress: Progress, run: Path) -> Started:
    return Started(
        run=run,
        model=setup.config.model,
        parameters=parameter_count(setup),
        videos=setup.source.videos,
        missing=len(setup.source.missing),
        warnings=(*setup.notes, *setup.source.warnings),
        device=setup.fabric.device.type,
        precision=str(setup.fabric.strategy.precision.precision),
        step=progress.step,
        steps=setup.steps,
        epoch=progress.epoch,
    )
