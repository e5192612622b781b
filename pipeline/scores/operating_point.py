"""Recall at a fixed rate of false alarms, one threshold for all generators, and intervals of
shares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.scores.delong import NORMAL_975

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """threshold: a score above it is a find; alarms: reals above it, of `reals`."""

    threshold: float
    alarms: int
    reals: int

    @property
    def note(self) -> str:
        """What weakens it, or ""."""
        return "" if self.alarms else f"no alarm among {self.reals} reals is seen at all"


def operating_point(reals: Floats, rate: float) -> OperatingPoint:
    """The lowest threshold, taken from the reals alone, with at most a share `rate` above it.

    It is the (floor(rate n) + 1)-th highest real; the decision is score > threshold.
    """
    ordered = np.sort(reals)[::-1]
    place = min(math.floor(rate * len(ordered) + 1e-9), len(ordered) - 1)
    threshold = float(ordered[place])
    return OperatingPoint(threshold, int((ordered > threshold).sum()), len(ordered))


def wilson(found: int, of: int) -> tuple[float, float]:
    """95 % interval of a share. Source: Wilson 1927, the score interval."""
    if not of:
        return 0.0, 1.0
    share, z2 = found / of, NORMAL_975**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = NORMAL_975 * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    low = 0.0 if found == 0 else middle - half
    return low, 1.0 if found == of else middle + half
