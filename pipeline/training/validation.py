"""Between epochs: the video scores of a validation manifest, shared out over the processes of a
run.
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
from unmask.pipeline.scores.metrics import measure

log = logging.getLogger(__name__)


class Process(Protocol):
    """What is needed of Lightning's Fabric."""

    global_rank: int
    world_size: int
    device: torch.device

    def autocast(self) -> AbstractContextManager: ...


@torch.inference_mode()
def score_sums(
    network: nn.Module,
    source: ClipSource,
    process: Process,
    *,
    batch: int,
    per_video: int,
    threads: int,
    stopped: Callable[[], bool],
) -> Tensor | None:
    """(V, 2) float64: sum of this process's scores of each video, and how many; None when
    `stopped` said so.
    """
    network.eval()
    samples = source.evaluation_samples(per_video)[process.global_rank :: process.world_size]
    plan = [samples[start : start + batch] for start in range(0, len(samples), batch)]
    sums = torch.zeros(len(source), 2, dtype=torch.float64, device=process.device)
    for raw in batches(source, plan, threads=threads, pin=process.device.type == "cuda"):
        if stopped():
            return None
        data = prepare(raw, source.spec, process.device)
        with process.autocast():
            logits = network.outputs(data.pixels, data.bands)["logits"]
        score = logits.double().softmax(1)[:, FAKE]
        videos = torch.tensor([sample.video for sample in raw.samples], device=process.device)
        sums.index_add_(0, videos, torch.stack([score, torch.ones_like(score)], 1))
    return sums


def video_metrics(source: ClipSource, sums: Tensor) -> tuple[float | None, float | None]:
    """Video AUC and log-loss of the mean scores; None where a class is missing or a score is not a
    number.
    """
    total = sums.cpu().numpy()
    score = total[:, 0] / total[:, 1]
    if not np.isfinite(score).all():
        log.warning("validation scores are not finite; this epoch cannot be the best")
        return None, None
    found = measure(source.labels, score)
    return found["auc"].value, found["log_loss"].value
