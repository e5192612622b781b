"""Make a picture smaller, fast and without jumping over pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def halve(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (H // 2, W // 2, 3), each pixel the mean of 2 x 2; an odd last row or column is
    left out.
    """
    height, width = (length // 2 for length in picture.shape[:2])
    return cv2.resize(
        picture[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA
    )


class Whole:
    """A picture in memory, in the words of records.View."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"a picture is (H, W, 3) uint8 RGB, got {pixels.shape} {pixels.dtype}")
        self.height, self.width = pixels.shape[:2]
        self._pixels = pixels

    def pixels(self) -> NDArray[np.uint8]:
        return self._pixels

    def half(self) -> NDArray[np.uint8]:
        return halve(self._pixels)


def reduce_to(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """(H, W, 3) -> (height, width, 3): halved as often as that is still larger, the rest is
    interpolated.

    Averaging 2 x 2 pixels is fast, averaging 1.5 x 1.5 is five times slower than interpolating what
    is left. Where one side is still more than twice too long, that would jump over pixels: then it
    is averaged all the same.
    """
    while min(picture.shape[1] / width, picture.shape[0] / height) >= 2:
        picture = halve(picture)
    jumps = max(picture.shape[1] / width, picture.shape[0] / height) > 2
    how = cv2.INTER_AREA if jumps else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=how)
