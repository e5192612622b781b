"""A head on stored features: the whole training in memory, seconds long.

The frozen encoder has already looked at every frame (pipeline/features), so a step reads rows of a
table. Nothing is saved before the end: a run that was stopped begins again and ends the same.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.models.recipes.losses import total_loss
from unmask.models.recipes.optimizers import learning_rate
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import EXIT_OK, EXIT_TERMINATED, TrainError
from unmask.pipeline.features.store import read_features
from unmask.pipeline.machine.interrupts import Interrupts
from unmask.pipeline.records import FAKE
from unmask.pipeline.runs.summary import rank
from unmask.pipeline.training.curves import Clock, Curves
from unmask.pipeline.training.progress import Live, Progress
from unmask.pipeline.training.saving import save
from unmask.pipeline.training.setup import Setup
from unmask.pipeline.training.validation import video_metrics

# Samples scored at once.
AT_ONCE = 4096


@dataclass(frozen=True)
class Table:
    """The features of a source's videos.

    rows: (R, C) float32 on the device, frame after frame, clip after clip, video after video.
    first: (V,) the row of each video's first frame.
    length: frames of a clip.
    """

    rows: Tensor
    first: np.ndarray
    length: int

    def of(self, samples: Sequence[Sample]) -> Tensor:
        """(B, T, C) of the samples' frames."""
        picks = np.array([sample.picks for sample in samples])  # (B, T, 2)
        start = self.first[[sample.video for sample in samples]]
        place = start[:, None] + picks[..., 0] * self.length + picks[..., 1]
        return self.rows[torch.from_numpy(place).to(self.rows.device)]


def head_loop(
    setup: Setup,
    progress: Progress,
    run: Path,
    curves: Curves,
    stop: Interrupts,
    report: Callable[[Live], None] | None = None,
) -> int:
    """Epoch after epoch to the end, in memory, then the best and the last weights; returns the exit
    code. Raises CacheError, TrainError, DiskError.
    """
    table = _table(setup, setup.source)
    validation = None if setup.validation is None else _table(setup, setup.validation)
    best: tuple[Progress, dict[str, Tensor]] | None = None
    clock = Clock()
    while progress.epoch < setup.recipe.epochs and progress.step < setup.steps:
        setup.model.train()
        for batch in setup.plan(progress.epoch)[: setup.steps - progress.step]:
            if stop.asked:
                return stop.exit_code or EXIT_TERMINATED
            loss = _step(setup, progress, batch, table, curves)
            clock.clips, clock.steps = clock.clips + len(batch), clock.steps + 1
            if report is not None:
                left = clock.seconds / clock.steps * (setup.steps - progress.step)
                at = progress.step, setup.steps, progress.epoch, loss, progress.auc
                report(Live(*at, clock.rate, clock.wait, left))
        found = _validate(setup, validation)
        progress.epoch += 1
        better = validation is None or rank(*found) > rank(progress.auc, progress.log_loss)
        curves.validation(progress.epoch, progress.step, *found, better)
        if better:
            (progress.auc, progress.log_loss), progress.best_epoch = found, progress.epoch
            best = replace(progress), _head(setup)
        if 0 < setup.config.patience <= progress.epoch - progress.best_epoch:
            break
    if clock.steps:
        curves.speed(progress.epoch, progress.step, clock)
        _save(setup, progress, run, curves, best)
    return EXIT_OK


def _save(
    setup: Setup,
    progress: Progress,
    run: Path,
    curves: Curves,
    best: tuple[Progress, dict[str, Tensor]] | None,
) -> None:
    """The checkpoints of the best and of the last weights."""
    progress.log_bytes = curves.flush()
    last = _head(setup)
    if best is not None:
        at, weights = best
        setup.network.load_state_dict(weights, strict=False)
        save(setup, at, run, best=True)
        setup.network.load_state_dict(last, strict=False)
    save(setup, progress, run)


def _head(setup: Setup) -> dict[str, Tensor]:
    """A copy of everything but the frozen encoder."""
    state = setup.network.state_dict()
    return copy.deepcopy({n: v for n, v in state.items() if not n.startswith("encoder.")})


def _step(
    setup: Setup, progress: Progress, batch: list[Sample], table: Table, curves: Curves
) -> float:
    """One optimizer step; returns the loss. Raises TrainError where it is not finite."""
    rate = learning_rate(setup.recipe, progress.step, setup.per_epoch)
    for group in setup.optimizer.param_groups:
        group["lr"] = rate
    # torch's own also notes for a GPU that may come who asked: a tenth of such a step
    seeded = torch.default_generator if table.rows.device.type == "cpu" else torch
    seeded.manual_seed(zlib.crc32(f"{setup.config.seed}/{progress.step}/0".encode()))
    setup.stepper.zero_grad(set_to_none=True)
    label = torch.tensor([setup.source.label_of(s) for s in batch], device=table.rows.device)
    outputs = setup.model(table.of(batch), None)
    loss = total_loss(setup.recipe.loss, outputs, label, None, setup.class_weight)["loss"]
    setup.fabric.backward(loss)
    if setup.recipe.clip:
        setup.fabric.clip_gradients(setup.model, setup.stepper, max_norm=setup.recipe.clip)
    value = loss.item()
    if not math.isfinite(value):
        raise TrainError(
            f"the loss of step {progress.step + 1} is not finite; take a smaller lr (--set lr=...)"
        )
    setup.stepper.step()
    samples = [(sample.video, sample.picks, sample.seed) for sample in batch]
    progress.step += 1
    order = zlib.crc32(repr(samples).encode())
    curves.step(progress.epoch, progress.step, value, rate, len(batch), order)
    return value


@torch.inference_mode()
def _validate(setup: Setup, table: Table | None) -> tuple[float | None, float | None]:
    """Video AUC and log-loss of the validation manifest, None where undefined."""
    if table is None or setup.validation is None:
        return None, None
    samples = setup.validation.evaluation_samples(setup.config.val_clips)
    network: Any = setup.network.eval()
    scores = [
        network.outputs(table.of(samples[start : start + AT_ONCE]))["logits"]
        .double()
        .softmax(1)[:, FAKE]
        for start in range(0, len(samples), AT_ONCE)
    ]
    return video_metrics(setup.validation, torch.cat(scores), setup.config.val_clips)


def _table(setup: Setup, source: ClipSource) -> Table:
    """Raises CacheError for features that are missing, damaged, or not of these crops."""
    config = setup.config
    found = read_features(Path(config.store), Path(config.cache), source.entries, config.features)
    rows = [one.reshape(-1, one.shape[-1]) for one in found.features]
    first = np.cumsum([0, *(len(one) for one in rows[:-1])])
    joined = torch.from_numpy(np.concatenate(rows)).to(setup.fabric.device).float()
    return Table(joined, first, source.length)
