"""Describe what a face looks like in a few numbers, so that the same person is found again."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GREY_SIDE, COLOUR_SIDE = 16, 60


def describe(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How an aligned face looks, (S, S, 3) -> (256 + 600,) float32: grey layout of unit length,
    Lab histogram.
    """
    side = GREY_SIDE
    grey = cv2.resize(
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA
    )
    layout = grey.astype(np.float32).ravel()
    layout -= layout.mean()
    layout /= max(float(np.linalg.norm(layout)), 1e-6)
    reduced = cv2.resize(crop, (COLOUR_SIDE, COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    light, a, b = cv2.split(cv2.cvtColor(reduced, cv2.COLOR_RGB2LAB).astype(np.int64))
    # 6 x 10 x 10 bins; the chroma of skin, hair and cloth lies within 30 of neutral grey (128)
    bins = light // 43 * 100 + np.clip((a - 100) // 6, 0, 9) * 10 + np.clip((b - 100) // 6, 0, 9)
    colours = np.bincount(bins.ravel(), minlength=600).astype(np.float32) / bins.size
    return np.concatenate([layout, colours])


def look_distance(first: NDArray, second: NDArray) -> float:
    """0 for the same picture, about 1 for unrelated ones: half correlation of layout, half
    histogram overlap.
    """
    split = GREY_SIDE**2
    layout = 1 - float(first[:split] @ second[:split])
    colours = 1 - float(np.minimum(first[split:], second[split:]).sum())
    return (layout + colours) / 2
