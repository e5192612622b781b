"""Crops come in, a few numbers about how they look go out: the same for training and prediction.

They say nothing of real or fake. A model asked about crops unlike all it was trained on answers
as surely as ever; these numbers tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.clips.readers import ClipReader

# Statistic -> the least difference that a viewer would notice, in its own unit. Brightness,
# contrast and colourfulness count grey levels of 255; sharpness and noise are doublings.
NOTICED: dict[str, float] = {
    "brightness": 8.0,
    "contrast": 4.0,
    "colourfulness": 4.0,
    "sharpness": 0.25,
    "noise": 0.25,
}

# Immerkaer 1996, "Fast noise variance estimation": blind to edges that are straight over 3 px.
NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)

VIDEOS, CLIPS = 200, 2  # looked at of a training manifest: a few seconds before the first step


def looks_of(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, K) statistics, in the order of NOTICED, of n crops (n, S, S, 3) uint8 RGB."""
    return np.array([_looks(picture) for picture in pictures]).reshape(-1, len(NOTICED))


def _looks(picture: NDArray[np.uint8]) -> tuple[float, ...]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = cv2.Laplacian(grey, cv2.CV_32F)
    residue = cv2.filter2D(grey, cv2.CV_32F, NOISE)[1:-1, 1:-1]
    sigma = float(np.abs(residue).mean()) * np.sqrt(np.pi / 2) / 6
    return (
        float(grey.mean()),
        float(grey.std()),
        _colourfulness(picture),
        # Pech-Pacheco 2000; the added one keeps a flat picture finite
        float(np.log2(1 + edges.var()) / 2),
        float(np.log2(0.1 + sigma)),
    )


def _colourfulness(picture: NDArray[np.uint8]) -> float:
    """Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", M3."""
    red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
    across, along = red - green, (red + green) / 2 - blue
    spread = np.hypot(across.std(), along.std())
    return float(spread + 0.3 * np.hypot(across.mean(), along.mean()))


def looks_of_clips(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, K) statistics of the middle frame of each clip; pixels: (n, T, S, S, 3) uint8."""
    return looks_of(pixels[:, pixels.shape[1] // 2])


def looks_of_videos(readers: Sequence[ClipReader]) -> NDArray[np.float64]:
    """(V, K) statistics of up to VIDEOS of the videos, evenly chosen, each the median of CLIPS.

    Raises CacheError of a clip that cannot be read.
    """
    chosen = np.unique(np.linspace(0, len(readers) - 1, min(VIDEOS, len(readers))).round())
    found = []
    for number in chosen.astype(int):
        clips = readers[number].shape[0]
        places = sorted({round((clips - 1) * share) for share in np.linspace(0.25, 0.75, CLIPS)})
        found.append(np.median(looks_of_clips(readers[number].read_crops(places)), axis=0))
    return np.array(found).reshape(-1, len(NOTICED))
