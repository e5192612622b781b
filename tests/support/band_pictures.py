"""Low, mid and high pictures out of stored coefficients, in numpy and scipy: what the device's own
inverse is compared with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import idct

from unmask.pipeline.cache.bands import Definition, cuts, places


def reconstruct(
    coeffs: NDArray[np.floating], crop: NDArray[np.uint8], definition: Definition = "area"
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Low, mid and high pictures in grey levels (crop's units), each (..., S, S, 3) float32; they
    sum to the crop.

    coeffs: (..., 3, K) of this crop.
    crop: (..., S, S, 3) uint8. High is what the other two leave, so that the sum holds by
        construction to float32 rounding. Raises ValueError when the two do not belong together.
    """
    size = crop.shape[-2]
    low_cut, mid_cut = cuts(size, definition)
    u, v = places(size, definition)
    expected = (*crop.shape[:-3], 3, len(u))
    if coeffs.shape != expected:
        raise ValueError(
            f"coefficients of shape {coeffs.shape} do not belong to crops {crop.shape}: expected "
            f"{expected}"
        )
    is_low = u + v < low_cut
    values = coeffs.astype(np.float32) * np.float32(255)
    low = _picture(np.where(is_low, values, np.float32(0)), u, v, size, mid_cut)
    mid = _picture(np.where(is_low, np.float32(0), values), u, v, size, mid_cut)
    return low, mid, crop.astype(np.float32) - low - mid


def _picture(
    values: NDArray[np.float32], u: NDArray[np.intp], v: NDArray[np.intp], size: int, cut: int
) -> NDArray[np.float32]:
    """Inverse DCT of (..., 3, K) -> (..., S, S, 3)."""
    spectrum = np.zeros((*values.shape[:-1], cut, cut), np.float32)
    spectrum[..., u, v] = values
    down = idct(spectrum, n=size, axis=-2, norm="ortho", overwrite_x=True)
    return np.moveaxis(idct(down, n=size, axis=-1, norm="ortho", overwrite_x=True), -3, -1)
