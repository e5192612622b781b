"""Train a detector from a manifest: the one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unmask.models.options import ModelError
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.interrupts import Interrupts
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.networks import resolve
from unmask.pipeline.runs.run_folder import new_run, write_run
from unmask.pipeline.training.fabric import build_fabric
from unmask.pipeline.training.loop import Training
from unmask.pipeline.training.progress import Live, Result


def train(
    config: TrainConfig,
    runs: Path = Path("runs"),
    *,
    run: Path | None = None,
    resume: bool = False,
    expected: dict[str, str] | None = None,
    report: Callable[[Live], None] | None = None,
    started: Callable[[Training], None] | None = None,
) -> Result:
    """Train one model and return where it lies and how it ended.

    run: its folder; None makes the next one under `runs`.
    resume: go on from its newest checkpoint.
    expected: sha256 by `manifest` or `val`, as another run's run.json has them.
    report: called after every step.
    Raises UsageError, ManifestError, CacheError, CheckpointError before the first step; TrainError
    on lost steps.
    """
    fabric = build_fabric(config)
    fabric.launch()
    try:
        config = resolve(config)
        training = Training(config, fabric, report)
    except ModelError as error:
        raise UsageError(str(error)) from error
    found = {
        "manifest": training.source.sha256,
        "val": training.validation.sha256 if training.validation else "",
    }
    checkpoint.belongs(
        expected or {}, {name: found[name] for name in expected or {}}, Path(config.manifest)
    )
    if run is None:
        run = (
            new_run(runs, config.model, Path(config.manifest)) if fabric.is_global_zero else Path()
        )
    training.run = run = Path(fabric.broadcast(str(run)))
    if resume:
        training.restore(run)
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        write_run(run, config, training.facts())
    if started is not None:
        started(training)
    with Interrupts() as stop:
        try:
            code = training.run_to_end(run, stop)
        except ModelError as error:  # a side or a number of frames that the network cannot take
            raise UsageError(str(error)) from error
    return Result(run, training.progress, code)
