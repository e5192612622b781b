"""Small pictures of the moments that a prediction's page shows, with the model's heat map."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.clips.batches import batch_of
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.reports.heat import grad_cam, heat_of, last_map, overlay, seen

FRAMES = 4


class Camera:
    """Pictures of samples: frames, and below them what moved the score; the model's layer is
    looked up once.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.layer, self.looked = scorer, None, False

    def shoot(self, pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
        """(T,S,S,3) -> JPEG and what its lower row is."""
        spec, network = self.scorer.spec, self.scorer.network
        whole = tuple((0, t) for t in range(len(pixels)))
        batch = prepare(batch_of(pixels[None], [whole]), spec, self.scorer.device)
        frames = seen(batch.pixels[0], spec)
        chosen = np.unique(
            np.rint(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)))).astype(int)
        )
        if network is None:
            return overlay(
                frames[chosen].cpu(), None
            ), "What the model saw; an exported file shows no attention."
        heat, name = self._heat(batch)
        what = (
            f"Upper row: what the model saw; lower row: {name}. Warm places need not be what "
            "was manipulated."
        )
        return overlay(
            frames[chosen].cpu(),
            heat[chosen if len(heat) == len(frames) else [0] * len(chosen)].cpu(),
        ), what

    def _heat(self, batch: object) -> tuple[torch.Tensor, str]:
        network, frames = self.scorer.network, self.scorer.spec.frames
        if getattr(network, "decoder", None) is not None:
            return heat_of(network, batch)
        if not self.looked:
            self.layer, self.looked = last_map(network, batch, frames), True
        if self.layer is None:
            return heat_of(network, batch)
        return grad_cam(network, batch, self.layer, frames), "what moved the score (Grad-CAM)"
