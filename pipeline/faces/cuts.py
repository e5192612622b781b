"""Is there a hard cut between two pictures, and how alike are they: thumbnails and their
correlation.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.decode.resize import reduce_to

# A step between two frames is a hard cut when the thumbnails differ by this many grey levels,
# hardly correlate, and the step is this many times the usual one of the clip. On real video steps
# stay below 8 levels and above 0.89, cuts start at 20 levels and 0.75; whip pans differ in every
# step, flashes still correlate. Around the face, lips and flickering fakes are allowed more.
CUT_LEVELS, CUT_CORRELATION, CUT_RATIO = 12.0, 0.8, 3.0
FACE_CUT_LEVELS, FACE_CUT_CORRELATION = 25.0, 0.5


def has_cut(
    pixels: NDArray[np.uint8], levels: float = CUT_LEVELS, correlation: float = CUT_CORRELATION
) -> bool:
    """Whether one step of a clip (T, H, W, 3) stands out as a hard cut; ours, thresholds measured
    on real video.
    """
    return is_hard_cut([thumbnail(frame) for frame in pixels], levels, correlation)


def is_hard_cut(small: Sequence[NDArray[np.uint8]], levels: float, correlation: float) -> bool:
    """The same for the clip's thumbnails."""
    steps = likenesses(np.stack(small))
    for number, (step, alike) in enumerate(steps):
        if step > levels and alike < correlation:
            others = [size for size, _ in steps[:number] + steps[number + 1 :]]
            if step > CUT_RATIO * (float(np.median(others)) if others else 0.0):
                return True
    return False


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (32, 32, 3) uint8; every n-th pixel first: averaging a full frame costs more
    than the crop.
    """
    step = sparse_step(*picture.shape[:2])
    height, width = (length // step for length in picture.shape[:2])
    # The pixels of [::step, ::step], without a last incomplete step; numpy takes five times as long
    # to gather them.
    whole = picture[: height * step, : width * step]
    return shrink_frame(cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST))


def sparse_step(height: int, width: int) -> int:
    """Every how many px a thumbnail looks: at 120 places or a few more along the long side."""
    return max(1, max(height, width) // 120)


def shrink_frame(sparse: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels a thumbnail looks at -> (32, 32, 3) uint8."""
    return reduce_to(np.ascontiguousarray(sparse), 32, 32)


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean difference in grey levels and correlation (-1 to 1) of two thumbnails; flat ones
    correlate 0.
    """
    return likenesses(np.stack([first, second]))[0]


def likenesses(thumbnails: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """The same for each step of a series of thumbnails (n, 32, 32, 3): n - 1 pairs."""
    series = thumbnails.reshape(len(thumbnails), -1, 3).astype(np.float32)
    levels = np.abs(series[1:] - series[:-1]).mean((1, 2))
    grey = series @ np.full(3, 1 / 3, np.float32)
    grey -= grey.mean(1, keepdims=True)
    product = (grey[1:] * grey[:-1]).sum(1)
    power = np.sqrt((grey[1:] ** 2).sum(1) * (grey[:-1] ** 2).sum(1))
    # Rounding leaves a flat picture a power of about 1e-6.
    alike = np.divide(product, power, out=np.zeros_like(power), where=power > 1e-2)
    return list(zip(levels.tolist(), alike.tolist(), strict=True))
