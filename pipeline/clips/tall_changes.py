"""What TALL's release does to training clips (github.com/rainy-xu/TALL4Deepfake,
video_transforms.py, a7a17bc): one draw per sample, so that all frames of a video's clips change
alike.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from unmask.models.spec import NORMS

SCALES = (1, 0.875, 0.75, 0.66)
# Quarters of the room to the left and above: corners, centre, middles of the sides, and half way.
PLACES = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)
NEAR = 3  # px: a side so near to the model's is the model's
HOLE = 16  # px


def multi_scale_box(side: int, size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box (y, x, height, width) in a square of `side` px for a model of `size` px: height and
    width of neighbouring scales, at one of thirteen places.
    """
    sides = [int(side * scale) for scale in SCALES]
    sides = [size if abs(one - size) < NEAR else one for one in sides]
    pairs = [
        (height, width)
        for i, height in enumerate(sides)
        for j, width in enumerate(sides)
        if abs(i - j) <= 1
    ]
    height, width = pairs[rng.integers(len(pairs))]
    x, y = PLACES[rng.integers(len(PLACES))]
    return y * ((side - height) // 4), x * ((side - width) // 4), height, width


def cut_out(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """One square of 16 px around a random place, cut at the border, gets ImageNet's mean colour in
    every frame: to the nearest grey level the release's zeros after normalisation.
    """
    side = clip.shape[-1]
    y, x = (int(place) for place in rng.integers(side, size=2))
    top, left = max(0, y - HOLE // 2), max(0, x - HOLE // 2)
    mean = clip.new_tensor([round(255 * value) for value in NORMS["imagenet"][0]])
    clip = clip.clone()
    clip[..., top : y + HOLE // 2, left : x + HOLE // 2] = mean.view(3, 1, 1)
    return clip, masks
