"""Meso4 and MesoInception4: shallow networks on the mesoscopic texture of one face picture.

Paper: Afchar, Nozick, Yamagishi, Echizen, "MesoNet: a Compact Facial Video Forgery Detection
Network", WIFS 2018, https://arxiv.org/abs/1809.00888. As released
(github.com/DariusAf/MesoNet, classifiers.py): convolution, ReLU, BatchNorm (eps 1e-3) and max pool
four times, two dense layers; the pools halve, halve, halve and quarter 256 px to 8.
Input: (B, T, 3, S, S), pixels / 255. T frames are judged alone and their logits averaged.
Size: 27,994 and 28,632 parameters, 17 more than published for the second output; 0.06 GMACs.

Decisions where release and ours differ: the release ends in one sigmoid that says REAL, ours in two
logits of which the second says fake, with the same probability when the first is the release's and
the second 0 (pipeline/zoo puts its weights so). The leaky ReLU of slope 0.1 between the dense
layers is that of the released code; the Meso4 weight files list no layer of that name.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.layers.pictures import GRIDS, PictureModel, Thumbnail, picture_spec
from unmask.models.options import ModelError

SLOPE, DROPOUT = 0.1, 0.5


class Inception(nn.Module):
    """1x1, 1x1 and 3x3, 1x1 and 3x3 of dilation 2, 1x1 and 3x3 of dilation 3, side by side, a ReLU
    after each: (N, inputs, H, W) -> (N, sum of widths, H, W).
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Conv2d(inputs, width, 1) for width in widths)
        self.dilated = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate)
            for rate, width in enumerate(widths[1:], 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (F.relu(conv(x)) for conv in self.enter)
        widened = [F.relu(conv(y)) for conv, y in zip(self.dilated, others, strict=True)]
        return torch.cat([first, *widened], 1)


class _MesoNet(PictureModel):
    """What both have in common; `blocks` are their four feature layers.

    side: of the picture the network looks at, px.
    window: (S, top, left): the crop comes with S px a side and the network looks at the `side` px
        from there on; () takes the whole crop, resized.
    thumbnail: 2x2 lays four consecutive frames out as one picture.
    """

    def __init__(
        self,
        blocks: tuple[tuple[nn.Module, int], ...],
        side: int,
        window: tuple[int, ...],
        thumbnail: Thumbnail,
    ) -> None:
        super().__init__()
        name = self.name
        if side < 32 or side % 32:
            raise ModelError(f"{name}: side {side} is not a multiple of 32")
        self.side = side
        outer, self.top, self.left = window or (side, 0, 0)
        if not 0 <= max(self.top, self.left) <= outer - side or min(self.top, self.left) < 0:
            raise ModelError(f"{name}: window {window} does not hold {side} px")
        self.spec = picture_spec(name, outer, "resize", "unit", thumbnail)
        self.grid = GRIDS[thumbnail]
        self.convs = nn.ModuleList(block for block, _ in blocks)
        # torch counts momentum from the other end than Keras' 0.99
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width, eps=1e-3, momentum=0.01) for _, width in blocks
        )
        self.dense = nn.Linear(blocks[-1][1] * (side // 32) ** 2, 16)
        self.head = nn.Linear(16, 2)

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, 16)."""
        x = pictures[..., self.top :, self.left :][..., : self.side, : self.side]
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x) if isinstance(conv, Inception) else F.relu(conv(x))
            x = F.max_pool2d(norm(x), 4 if place == 3 else 2)
        x = F.dropout(x.flatten(1), DROPOUT, self.training)
        return F.leaky_relu(self.dense(x), SLOPE)

    def logits_of(self, feature: Tensor) -> Tensor:
        """(N, 16) -> (N, 2)."""
        return self.head(F.dropout(feature, DROPOUT, self.training))


class Meso4(_MesoNet):
    """Four plain convolutions; see the module docstring and _MesoNet for the options."""

    name = "meso4"
    small: ClassVar[dict[str, object]] = {"side": 64}

    def __init__(
        self, *, side: int = 256, window: tuple[int, ...] = (), thumbnail: Thumbnail = "none"
    ) -> None:
        blocks = (
            (nn.Conv2d(3, 8, 3, padding=1), 8),
            (nn.Conv2d(8, 8, 5, padding=2), 8),
            (nn.Conv2d(8, 16, 5, padding=2), 16),
            (nn.Conv2d(16, 16, 5, padding=2), 16),
        )
        super().__init__(blocks, side, window, thumbnail)


class MesoInception4(_MesoNet):
    """Two inception layers, two plain convolutions; options as of Meso4."""

    name = "mesoinception4"
    small: ClassVar[dict[str, object]] = {"side": 64}

    def __init__(
        self, *, side: int = 256, window: tuple[int, ...] = (), thumbnail: Thumbnail = "none"
    ) -> None:
        blocks = (
            (Inception(3, (1, 4, 4, 2)), 11),
            (Inception(11, (2, 4, 4, 2)), 12),
            (nn.Conv2d(12, 16, 5, padding=2), 16),
            (nn.Conv2d(16, 16, 5, padding=2), 16),
        )
        super().__init__(blocks, side, window, thumbnail)
