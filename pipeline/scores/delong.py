"""DeLong's test for two correlated areas under the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NORMAL_975 = 1.959963984540054  # of a standard normal, 97.5 % lie below


@dataclass(frozen=True)
class DeLong:
    """Two AUCs on the same videos and the test of their equality; p is None with `note` when it
    does not exist.

    low, high: 95 % interval of second - first.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    z: float | None
    p: float | None
    note: str = ""


def _midrank(values: Floats) -> Floats:
    """Rank from 1, equal values share the mean of their ranks."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[inverse]


def _placements(label: NDArray, score: Floats) -> tuple[Floats, Floats]:
    """Per fake the share of reals below it, per real the share of fakes above it (ties count
    half).
    """
    fake, real = score[label == 1], score[label == 0]
    together = _midrank(np.concatenate([fake, real]))
    of_fake = (together[: len(fake)] - _midrank(fake)) / len(real)
    of_real = 1 - (together[len(fake) :] - _midrank(real)) / len(fake)
    return of_fake, of_real


def auc_covariance(label: NDArray, scores: list[Floats]) -> tuple[Floats, Floats]:
    """AUCs (K,) and their covariance (K, K).

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) eq. 3 to 5; midranks as Sun and
    Xu, IEEE SPL 2014.
    """
    placed = [_placements(label, score) for score in scores]
    fake, real = (
        np.stack([p[0] for p in placed]),
        np.stack([p[1] for p in placed]),
    )  # (K, fakes), (K, reals)
    covariance = (
        np.atleast_2d(np.cov(fake)) / fake.shape[1] + np.atleast_2d(np.cov(real)) / real.shape[1]
    )
    return fake.mean(axis=1), covariance


def auc_interval(label: NDArray, score: Floats) -> tuple[float | None, float | None, float | None]:
    """AUC with the ends of its 95 % interval, cut at 0 and 1; None where a class is too small.

    label, score: (R,), one row per video.
    """
    if min((label == 0).sum(), (label == 1).sum()) < 2:
        return None, None, None
    auc, covariance = auc_covariance(label, [score])
    value, half = float(auc[0]), NORMAL_975 * math.sqrt(max(0.0, float(covariance[0, 0])))
    return value, max(0.0, value - half), min(1.0, value + half)


def delong(label: NDArray, first: Floats, second: Floats) -> DeLong:
    """Two-sided test that two detectors have the same AUC on the same videos.

    label, first, second: (R,), one row per video: clips of a video are not independent and have no
    place here.
    """
    counts = [int((label == value).sum()) for value in (0, 1)]
    if min(counts) < 2:
        raise ValueError(
            f"DeLong needs two reals and two fakes at least, got {counts[0]} and {counts[1]}"
        )
    return equality_test(*auc_covariance(label, [first, second]), 0, 1)


def equality_test(auc: Floats, covariance: Floats, one: int, two: int) -> DeLong:
    """The test of two among K detectors, from what auc_covariance gives of all."""
    difference = float(auc[two] - auc[one])
    variance = float(covariance[one, one] + covariance[two, two] - 2 * covariance[one, two])
    if variance <= 1e-15:
        note = (
            "no variance: both order the videos alike"
            if abs(difference) < 1e-12
            else "the estimated variance is zero"
        )
        p = 1.0 if abs(difference) < 1e-12 else None
        return DeLong(float(auc[one]), float(auc[two]), difference, None, None, None, p, note)
    error = math.sqrt(variance)
    z = difference / error
    return DeLong(
        first=float(auc[one]),
        second=float(auc[two]),
        difference=difference,
        low=difference - NORMAL_975 * error,
        high=difference + NORMAL_975 * error,
        z=z,
        p=math.erfc(abs(z) / math.sqrt(2)),
    )
