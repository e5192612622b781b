"""The training loop: batches in, better weights and checkpoints out.

Resume is exact because nothing needs to be remembered but tensors and a position: the plan of an
epoch is a function of (seed, epoch), each sample carries its own random numbers, the network's
dropout is seeded anew at every step from (seed, step, process), and the learning rate is a function
of the step. No line of metrics.jsonl holds a clock.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unmask.models.recipes.losses import total_loss
from unmask.models.recipes.optimizers import climb, go_back, learning_rate
from unmask.pipeline.clips.batches import RawBatch, batches
from unmask.pipeline.clips.plans import share
from unmask.pipeline.clips.prepare import Batch, prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.errors import EXIT_OK, EXIT_TERMINATED, TrainError
from unmask.pipeline.machine.interrupts import Interrupts
from unmask.pipeline.runs.summary import rank
from unmask.pipeline.training.curves import Clock, Curves
from unmask.pipeline.training.progress import Live, Progress
from unmask.pipeline.training.saving import save
from unmask.pipeline.training.setup import Setup, together
from unmask.pipeline.training.validation import sample_scores, video_metrics

log = logging.getLogger(__name__)

Report = Callable[[Live], None]

# Videos that a message about a lost step names.
NAMED_VIDEOS = 20


@dataclass(frozen=True)
class _Walk:
    """One call of `loop`: the setup, where it stands, and who is told.

    run: the folder that checkpoints go to.
    report: called after every step of the first process.
    """

    setup: Setup
    progress: Progress
    run: Path
    curves: Curves
    stop: Interrupts
    report: Report | None

    def save(self, *, best: bool = False) -> Path:
        """A checkpoint of now, which knows how much of metrics.jsonl belongs to it."""
        if self.setup.fabric.is_global_zero:
            self.progress.log_bytes = self.curves.flush()
        return save(self.setup, self.progress, self.run, best=best)


def loop(
    setup: Setup,
    progress: Progress,
    run: Path,
    curves: Curves,
    stop: Interrupts,
    report: Report | None = None,
) -> int:
    """Epoch after epoch until the last step, the patience or a signal; returns the exit code.

    progress: where to begin; moved on step by step, so that the caller sees where it ended.
    Raises: TrainError when the loss stays not finite, DiskError, CacheError.
    """
    walk = _Walk(setup, progress, run, curves, stop, report)
    # batch > 0: stopped inside an epoch, perhaps after its last step and before its validation
    while progress.batch or (
        progress.epoch < setup.recipe.epochs
        and progress.step < setup.steps
        and not _out_of_patience(walk)
    ):
        if not _epoch(walk) or not _close_epoch(walk):
            walk.save()
            return stop.exit_code or EXIT_TERMINATED  # the signal may have reached another process
    return EXIT_OK


def _out_of_patience(walk: _Walk) -> bool:
    """Whether validation has not become better for `patience` epochs."""
    patience = walk.setup.config.patience
    return bool(patience) and walk.progress.epoch - walk.progress.best_epoch >= patience


def _epoch(walk: _Walk) -> bool:
    """The rest of the current epoch's steps; False when a signal asked to stop."""
    setup, progress = walk.setup, walk.progress
    fabric, config = setup.fabric, setup.config
    todo = setup.plan(progress.epoch)[progress.batch :][: setup.steps - progress.step]
    micro_batches = [
        part
        for batch in todo
        for part in share(
            batch,
            fabric.global_rank,
            fabric.world_size,
            config.accumulate,
            together(setup.recipe),
        )
    ]
    ahead = batches(
        setup.source, micro_batches, threads=config.threads, pin=fabric.device.type == "cuda"
    )
    clock = Clock()
    for batch in todo:
        if _step(walk, batch, ahead, clock):
            return False
        if config.checkpoint_steps and progress.step % config.checkpoint_steps == 0:
            walk.save()
    walk.curves.speed(progress.epoch, progress.step, clock)
    return True


def _step(walk: _Walk, batch: list[Sample], ahead: Iterator[RawBatch], clock: Clock) -> bool:
    """One optimizer step on one global batch; True when a signal asked any process to stop."""
    setup, step = walk.setup, walk.progress.step
    rate = learning_rate(setup.recipe, step, setup.per_epoch)
    for group in setup.optimizer.param_groups:
        group["lr"] = rate
    own = zlib.crc32(f"{setup.config.seed}/{step}/{setup.fabric.global_rank}".encode())
    buffers = [buffer.clone() for buffer in setup.network.buffers()]
    share_of_loss = _gradients(setup, batch, _prepared(setup, ahead, clock), own)
    norm = setup.fabric.clip_gradients(
        setup.model,
        setup.stepper,
        max_norm=setup.recipe.clip or math.inf,
        error_if_nonfinite=False,
    )
    asked_here = share_of_loss.new_tensor(float(walk.stop.asked))
    both = torch.stack([share_of_loss, asked_here])
    loss, asked = setup.fabric.all_reduce(both, reduce_op="sum").tolist()
    # With float16 the loss scale overflows now and then; the scaler itself skips such a step.
    finite = math.isfinite(loss) and (math.isfinite(norm) or setup.scaled)
    _accept_or_roll_back(setup, finite, buffers)
    clock.clips, clock.steps = clock.clips + len(batch), clock.steps + 1
    _record(walk, batch, loss if finite else None, rate)
    _tell(walk, clock, loss)
    return asked > 0


def _prepared(setup: Setup, ahead: Iterator[RawBatch], clock: Clock) -> Iterator[Batch]:
    """This process's parts of one global batch, each made when it is asked for."""
    for _ in range(setup.config.accumulate):
        with clock.waiting():
            raw = next(ahead)
        yield prepare(raw, setup.spec, setup.fabric.device, setup.augment)


def _gradients(setup: Setup, batch: list[Sample], parts: Iterator[Batch], seed: int) -> Tensor:
    """Gradients of this process's parts of a global batch; returns its share of the mean loss, ()
    float64.

    seed: of the network's dropout.
    With sam they are those at the worst point nearby, of the same pictures and with the same
    dropout; batch statistics move in both passes. Where the first are not finite they stay, so that
    the step is lost like any other, and a loss scale is lowered.
    """
    torch.manual_seed(seed)
    if setup.recipe.optimizer != "sam":
        return _forward_backward(setup, batch, parts)
    held = list(parts)
    total = _forward_backward(setup, batch, held)
    before = climb(setup.network.parameters(), setup.recipe.rho)
    if before is not None:
        torch.manual_seed(seed)
        _forward_backward(setup, batch, held)
        go_back(before)
    return total


def _forward_backward(setup: Setup, batch: list[Sample], parts: Iterable[Batch]) -> Tensor:
    """One pass forward and back over the parts; returns their share of the mean loss."""
    fabric, last = setup.fabric, setup.config.accumulate - 1
    setup.model.train()
    for part in setup.frozen:
        part.eval()
    setup.stepper.zero_grad(set_to_none=True)
    total = torch.zeros((), device=fabric.device, dtype=torch.float64)
    for number, data in enumerate(parts):
        with fabric.no_backward_sync(setup.model, enabled=number < last):
            outputs = setup.model(data.pixels, data.bands)
            loss = total_loss(
                setup.recipe.loss, outputs, data.label, data.masks, setup.class_weight
            )["loss"]
            # Means over parts of unequal size add up to the mean over the global batch; the
            # gradients of several processes are averaged, so each counts world_size times.
            fabric.backward(loss * (len(data.label) * fabric.world_size / len(batch)))
        total += loss.detach() * (len(data.label) / len(batch))
    return total


def _accept_or_roll_back(setup: Setup, finite: bool, buffers: list[Tensor]) -> None:
    """Step the optimizer, or leave weights and batch statistics as they were before the step."""
    if finite:
        setup.stepper.step()
        if setup.ema is not None:
            setup.ema.update_parameters(setup.network)
        return
    for buffer, before in zip(setup.network.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _record(walk: _Walk, batch: list[Sample], loss: float | None, rate: float) -> None:
    """Move on by one step and write its line; too many lost steps in a row end the run."""
    progress, source = walk.progress, walk.setup.source
    progress.step, progress.batch = progress.step + 1, progress.batch + 1
    samples = [(sample.video, sample.picks, sample.seed) for sample in batch]
    order = zlib.crc32(repr(samples).encode())
    walk.curves.step(progress.epoch, progress.step, loss, rate, len(batch), order)
    if loss is not None:
        progress.row = 0
        return
    progress.skipped, progress.row = progress.skipped + 1, progress.row + 1
    names = ", ".join(source.entries[sample.video].folder for sample in batch[:NAMED_VIDEOS])
    log.warning(
        "step %d skipped: loss or gradient is not finite; its videos: %s", progress.step, names
    )
    if progress.row >= walk.setup.config.nan_limit:
        progress.row = 0
        where = walk.save()
        raise TrainError(
            f"no finite loss in {walk.setup.config.nan_limit} steps in a row, the last on {names}; "
            f"the weights before them are in {where}; take a smaller lr (--set lr=...), or "
            "--precision 32-true"
        )


def _tell(walk: _Walk, clock: Clock, loss: float | None) -> None:
    if walk.report is None or not walk.setup.fabric.is_global_zero:
        return
    at, steps = walk.progress, walk.setup.steps
    left = clock.seconds / max(1, clock.steps) * (steps - at.step)
    walk.report(Live(at.step, steps, at.epoch, loss, at.auc, clock.rate, clock.wait, left))


def _close_epoch(walk: _Walk) -> bool:
    """Validate, keep what is best, save; False when a signal came meanwhile (validation is then
    done again).
    """
    setup, progress = walk.setup, walk.progress
    if progress.step == progress.skipped:
        raise TrainError(
            f"not one of the {progress.step} steps had a finite loss, so nothing was learnt; take "
            "--precision 32-true, or a smaller lr (--set lr=...)"
        )
    found = _validate(setup, walk.stop)
    if found is None:
        return False
    progress.epoch, progress.batch = progress.epoch + 1, 0
    better = setup.validation is None or rank(*found) > rank(progress.auc, progress.log_loss)
    walk.curves.validation(progress.epoch, progress.step, *found, better)
    if better:
        (progress.auc, progress.log_loss), progress.best_epoch = found, progress.epoch
        walk.save(best=True)
    walk.save()
    return True


def _validate(setup: Setup, stop: Interrupts) -> tuple[float | None, float | None] | None:
    """Video AUC and log-loss of the validation manifest, None where undefined; None at all when
    stopped.
    """
    if setup.validation is None:
        return None, None
    fabric = setup.fabric
    per_video = setup.config.val_clips
    scores = sample_scores(
        setup.scored,
        setup.validation,
        fabric,
        batch=setup.recipe.batch,
        per_video=per_video,
        threads=setup.config.threads,
        stopped=lambda: stop.asked and fabric.world_size == 1,
    )
    if scores is None:
        return None
    everyone = fabric.all_reduce(scores, reduce_op="sum")
    return video_metrics(setup.validation, everyone, per_video)
