"""The zone of no verdict with a promise: class-conditional split conformal prediction.

Of videos that are exchangeable with the calibration's, at most a share `error` of the reals is
called fake and at most `error` of the fakes real, whatever the detector, for any finite number of
calibration videos. The promise is over calibrations as well as videos: the rate of one calibration
varies around its mean, as Beta(n + 1 - m, m) of Vovk 2012. It says nothing of other generators.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Above every score: a verdict that begins here is never given.
NEVER = float(np.nextafter(1.0, 2.0))


def crossings(videos: int, error: float) -> int:
    """Which of `videos` of a class, counted from its wrong end, is the line: 5 of 100 at 0.05.

    floor(error (n + 1)); 0 where even the very end would not keep the promise.
    """
    return math.floor(error * (videos + 1) + 1e-9)


def fewest(error: float) -> int | None:
    """Videos of a class below which no verdict can be promised: 19 at 0.05; None for no error."""
    return math.ceil(round(1 / error, 9)) - 1 if error > 0 else None


def p_values(reals: Floats, fakes: Floats, score: Floats) -> tuple[Floats, Floats]:
    """How usual each score (R,) is among reals and among fakes: two (R,), each 0 to 1.

    (1 + how many of the class lie at least as far on the wrong side) / (n + 1).
    Source: Vovk, Gammerman, Shafer 2005, section 4.5 (label-conditional conformal predictors).
    """
    reals, fakes = np.sort(reals), np.sort(fakes)
    at_or_above = len(reals) - np.searchsorted(reals, score, side="left")
    at_or_below = np.searchsorted(fakes, score, side="right")
    return (1 + at_or_above) / (len(reals) + 1), (1 + at_or_below) / (len(fakes) + 1)


def conformal_zone(label: NDArray, score: Floats, error: float) -> tuple[float, float]:
    """(low, high): "fake" from high on and "real" below low keep the promise of `error` a class.

    label, score: (R,) of calibration videos, both classes. Between them a video is like both
    classes, or unlike both. high is NEVER, low is 0, where the class is too small.
    """
    reals, fakes = np.sort(score[label == 0])[::-1], np.sort(score[label == 1])
    real_line, fake_line = (crossings(len(of), error) for of in (reals, fakes))
    not_real = float(np.nextafter(reals[real_line - 1], 2)) if real_line else NEVER
    not_fake = float(fakes[fake_line - 1]) if fake_line else 0.0
    # Beyond both lines at once a video is unlike either class: no verdict there.
    return min(not_real, not_fake), max(not_real, not_fake)
