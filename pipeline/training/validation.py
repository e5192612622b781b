"""Between epochs: the video scores of a validation manifest, shared out over the processes of a
run, and joined by the rule that evaluation joins them by.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.records import FAKE
from unmask.pipeline.scores.calibration import logit
from unmask.pipeline.scores.metrics import measure
from unmask.pipeline.scores.video_scores import RULES

log = logging.getLogger(__name__)


class Process(Protocol):
    """What is needed of Lightning's Fabric."""

    global_rank: int
    world_size: int
    device: torch.device

    def autocast(self) -> AbstractContextManager: ...


@torch.inference_mode()
def sample_scores(
    network: nn.Module,
    source: ClipSource,
    process: Process,
    *,
    batch: int,
    per_video: int,
    threads: int,
    stopped: Callable[[], bool],
) -> Tensor | None:
    """(N,) float64: the score of each sample of `source.evaluation_samples(per_video)` that is this
    process's share, 0 for the others, so that the sum over processes is complete; None when
    `stopped` said so.
    """
    network.eval()
    samples = source.evaluation_samples(per_video)
    mine = range(process.global_rank, len(samples), process.world_size)
    places = [mine[start : start + batch] for start in range(0, len(mine), batch)]
    plan = [[samples[place] for place in part] for part in places]
    scores = torch.zeros(len(samples), dtype=torch.float64, device=process.device)
    ready = batches(source, plan, threads=threads, pin=process.device.type == "cuda")
    for part, raw in zip(places, ready, strict=True):
        if stopped():
            return None
        data = prepare(raw, source.spec, process.device)
        with process.autocast():
            logits = network.outputs(data.pixels, data.bands)["logits"]
        scores[part.start : part.stop : part.step] = logits.double().softmax(1)[:, FAKE]
    return scores


def video_metrics(
    source: ClipSource, scores: Tensor, per_video: int
) -> tuple[float | None, float | None]:
    """Video AUC and log-loss of the samples' mean scores; None where a class is missing or a score
    is not a number.

    scores: (N,) of all samples of `source.evaluation_samples(per_video)`.
    """
    video = np.array([sample.video for sample in source.evaluation_samples(per_video)])
    order = np.argsort(video, kind="stable")
    starts = np.searchsorted(video[order], np.arange(1, len(source)))
    ordered = scores.cpu().numpy()[order]
    parts = zip(np.split(ordered, starts), np.split(logit(ordered), starts), strict=True)
    joined = np.array([RULES["mean"](score, value) for score, value in parts])
    if not np.isfinite(joined).all():
        log.warning("validation scores are not finite; this epoch cannot be the best")
        return None, None
    found = measure(source.labels, joined)
    return found["auc"].value, found["log_loss"].value
