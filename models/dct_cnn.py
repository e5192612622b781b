"""DCT-CNN: the shallow convolutional network on DCT coefficients of one face picture; it sees no
pixels.

Paper: Frank, Eisenhofer, Schönherr, Fischer, Kolossa, Holz, "Leveraging Frequency Analysis for Deep
Fake Image Recognition", ICML 2020, https://arxiv.org/abs/2003.08685. As released
(github.com/RUB-SysSec/GANDCTAnalysis, commit 44eb57c, src/models.py, build_simple_cnn): 3x3
convolutions of 3, 8, 16 and 32 filters with ReLU, mean pooling after the second and the third, one
dense layer. Absolute coefficients on a logarithmic scale.

Input: (B, T, 3, R, R) orthonormal DCT-II coefficients of pixels / 255 below the high band, as
extraction stores them, so that training and evaluation read no pixels at all; R = 120 at the
published crop of 240 px: 63,724 parameters. T frames are judged alone and their logits averaged.

Ours: coefficients of the low and mid bands only (the paper takes all of 128 px pictures); instead
of each coefficient's mean and variance over a dataset the 1/f fall of natural pictures is taken
out and one BatchNorm a colour channel scales the rest, so that a checkpoint needs no statistics
beside it; two classes instead of five generators.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.layers.bands import Bands
from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec

# Rounding pixels to 8 bits puts about so much noise into every coefficient of pixels / 255.
FLOOR = 1e-3


class DCTCNN(nn.Module):
    """DCT-CNN on coefficients (B, T, 3, R, R); see the module docstring.

    side: of the crop the coefficients are of, px; at that of the cache they are read, else
    computed of the resized crop.
    """

    small: ClassVar[dict[str, object]] = {"side": 64}

    def __init__(self, *, side: int = 240) -> None:
        super().__init__()
        if side < 32:
            raise ModelError(f"dct_cnn: side {side} leaves nothing to pool; use 32 or more")
        self.spec = ClipSpec("single", 1, side, fit="resize", bands="area", coefficients=True)
        self.bands = Bands(side)
        rows = self.bands.rows
        order = torch.arange(rows, dtype=torch.float32)
        self.register_buffer(
            "fall", torch.log1p(order[:, None] + order[None, :]), persistent=False
        )  # of 1 / (1 + u + v)
        self.norm = nn.BatchNorm2d(3)
        widths = (3, 3, 8, 16, 32)
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1] * (rows // 4) ** 2, 2)

    def outputs(self, clip: Tensor | None, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and feature (B, 32).

        Without `bands` the coefficients are made of the clip (B, T, 3, S, S), S the model's side;
        with them it is not looked at and may be None.
        Raises ModelError for coefficients or a clip of another side.
        """
        if bands is None:
            if clip is None:
                raise ModelError("dct_cnn: give coefficients, or a clip to make them of")
            bands = self.bands.grid(self.bands.coefficients(clip))
        rows = self.bands.rows
        if bands.ndim != 5 or bands.shape[2:] != (3, rows, rows):
            raise ModelError(
                f"dct_cnn: expected coefficients (B, T, 3, {rows}, {rows}), got "
                f"{tuple(bands.shape)}"
            )
        frames = bands.shape[1]
        x = self.scaled(bands.flatten(0, 1))  # (B*T, 3, R, R)
        for place, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            x = F.avg_pool2d(x, 2) if place in (1, 2) else x
        logits = self.head(x.flatten(1)).unflatten(0, (-1, frames))
        feature = x.mean((2, 3)).unflatten(0, (-1, frames))
        return {"logits": logits.mean(1), "feature": feature.mean(1)}

    def forward(self, clip: Tensor | None, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]

    def scaled(self, coefficients: Tensor) -> Tensor:
        """log |c| without the fall that all natural pictures share, zero beyond the mid band."""
        level = torch.log(coefficients.float().abs() + FLOOR) + self.fall
        inside = self.bands.masks[:2].sum(0)[: self.bands.rows, : self.bands.rows]
        return self.norm(level) * inside
