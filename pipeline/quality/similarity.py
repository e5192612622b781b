"""Structural similarity of a fake and its original inside the forged region."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LUMA = (0.299, 0.587, 0.114)  # BT.601
# Wang et al. 2004: a Gaussian window of 11 px, constants for grey levels of 0 to 255.
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def luma(pixels: NDArray[np.uint8]) -> Floats:
    """(..., 3) RGB -> (...) grey levels."""
    return pixels @ np.array(LUMA)


def ssim_map(one: Floats, two: Floats) -> Floats:
    """(S, S) of two grey pictures, -1 to 1; 1 where they are equal.

    Source: Wang et al., IEEE TIP 13(4), 2004, equation 13, population covariance, borders by
    reflection.
    """
    mean_1, mean_2 = _window(one), _window(two)
    spread_1 = _window(one * one) - mean_1 * mean_1
    spread_2 = _window(two * two) - mean_2 * mean_2
    shared = _window(one * two) - mean_1 * mean_2
    light = (2 * mean_1 * mean_2 + C1) / (mean_1 * mean_1 + mean_2 * mean_2 + C1)
    return light * (2 * shared + C2) / (spread_1 + spread_2 + C2)


def _window(picture: Floats) -> Floats:
    return cv2.GaussianBlur(
        picture, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT_101
    ).astype(np.float64, copy=False)


def mask_ssim(
    original: NDArray[np.uint8],
    fake: NDArray[np.uint8],
    mask: Mask,
    variant: Literal["mean", "multiplied"] = "mean",
    erode: int = 0,
) -> float | None:
    """Mean of the SSIM map over the mask (S, S); None where no pixel is left of it.

    original, fake: (S, S, 3) RGB. erode: px that the mask loses, because the window reaches 5 px
        over its edge; that is wanted where the seam of a forgery counts.
    variant: multiplied blackens both pictures outside the mask and averages over everything, which
        raises the value by the area outside (found in pose transfer; not comparable with mean).
    Source: Mask-SSIM as the Celeb-DF paper (arXiv 1909.12962) brought it to forged faces; the
    plain mean over the mask is ours, since the paper's code is not released.
    """
    inside = eroded(mask, erode)
    if not inside.any():
        return None
    one, two = luma(original), luma(fake)
    if variant == "multiplied":
        return float(ssim_map(one * inside, two * inside).mean())
    return float(ssim_map(one, two)[inside].mean())


def eroded(mask: Mask, pixels: int) -> Mask:
    """The mask without what lies within so many px of its edge; the crop's border is no edge."""
    return _grown(mask, pixels, cv2.erode)


def dilated(mask: Mask, pixels: int) -> Mask:
    """The mask with what lies within so many px of it."""
    return _grown(mask, pixels, cv2.dilate)


def _grown(mask: Mask, pixels: int, how: object) -> Mask:
    if not pixels:
        return mask
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return how(mask.astype(np.uint8), square).astype(bool)  # type: ignore[operator]
