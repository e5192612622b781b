"""High dynamic range comes in, the BT.709 picture that an ordinary screen shows goes out.

A PQ or HLG picture that is converted like any other is grey and flat: its code values mean other
light. Here they become light by the standard's own curve, white at 203 cd/m2 (ITU-R BT.2408, table
1) becomes white, light above it is rolled off, colours of BT.2020 or P3 become those of BT.709, and
the result is coded for a BT.1886 screen (gamma 2.4).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18  # ITU-T H.273, table 3
WHITE = 203.0  # cd/m2
_KNEE = 0.85  # of white, where the roll-off begins
_CODES = 4096  # PQ and HLG are coded in 10 or 12 bits

# Linear RGB -> linear BT.709, by primaries of H.273, table 2 (both have the white of BT.709).
_TO_709 = {
    9: np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    ),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]),
}
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020


def is_high_range(transfer: int) -> bool:
    """Whether a transfer characteristic (H.273, table 3) is PQ's or HLG's."""
    return transfer in (PQ, HLG)


def to_bt709(codes: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """Full-range RGB code values (H, W, 3) uint16 -> the same picture in BT.709, uint8."""
    light = _light_of_codes(transfer)[codes >> 4]  # (H, W, 3) float32, white is 1
    if transfer == HLG:
        # The screen's own gamma, 1.2 at 1,000 cd/m2, by the luminance (BT.2100, table 5).
        scene = light @ _LUMINANCE
        light = light * (np.power(scene, 0.2) * (1000 / WHITE))[..., None]
    if primaries in _TO_709:
        light = cv2.transform(light, _TO_709[primaries].astype(np.float32))
    light = np.maximum(light, 0)
    most = light.max(axis=2)
    over = most > _KNEE
    if over.any():
        rest = 1 - _KNEE
        rolled = _KNEE + rest * (1 - np.exp((_KNEE - most[over]) / rest))
        light[over] *= (rolled / most[over])[:, None]
    return np.rint(255 * cv2.pow(light, 1 / 2.4)).astype(np.uint8)


@functools.cache
def _light_of_codes(transfer: int) -> NDArray[np.float32]:
    """Light of each 12-bit code value: of PQ in units of white, of HLG the scene's from 0 to 1."""
    code = np.arange(_CODES) / (_CODES - 1)
    if transfer == PQ:  # SMPTE ST 2084
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        power = code ** (1 / m2)
        light = 10000 / WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    else:  # BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return light.astype(np.float32)
