"""How sure a number is: bootstrap over videos, and DeLong's test for two detectors on the same
videos.

All resamples of a block are computed together as weights on the sorted rows: a resample is a row of
counts, and a metric is a function of cumulative counts at the distinct scores. No loop over
resamples, no sorting again. Which metrics there are is the business of metrics.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
# Numbers held per block (resamples x rows); about 100 MB over the handful of arrays alive at once.
BLOCK = 2_000_000


def bin_of(score: Floats, bins: int) -> NDArray[np.int64]:
    """Which of `bins` equal parts of [0, 1] each score falls into; 1.0 belongs to the last."""
    return np.minimum((score * bins).astype(np.int64), bins - 1)


@dataclass(frozen=True)
class Sorted:
    """Rows by falling score. last: index of the last row of each distinct score. fake: (R,)
    bool.
    """

    score: Floats
    fake: NDArray[np.bool_]
    unit: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, label: NDArray, score: Floats, unit: NDArray[np.int64]) -> Sorted:
        order = np.argsort(-score, kind="stable")
        ordered = score[order]
        last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        return cls(ordered, label[order] == 1, unit[order], last)


@dataclass(frozen=True)
class Resamples:
    """B resamples of R rows, and the cumulative counts that most metrics are made of.

    K is the number of distinct scores. Every count is computed once, when the first metric asks.

    rows: by falling score.
    weight: (B, R), how often each row is drawn.
    threshold: of decisions.
    """

    rows: Sorted
    weight: Floats
    threshold: float

    def __len__(self) -> int:
        return len(self.weight)

    @cached_property
    def true(self) -> Floats:
        """(B, K+1) fakes that score at or above each distinct score; the first column is zero."""
        return self._at_or_above(self.rows.fake)

    @cached_property
    def false(self) -> Floats:
        """(B, K+1) reals at or above each distinct score."""
        return self._at_or_above(~self.rows.fake)

    def _at_or_above(self, member: NDArray[np.bool_]) -> Floats:
        zero = np.zeros((len(self), 1))
        return np.hstack([zero, np.cumsum(self.weight * member, axis=1)[:, self.rows.last]])

    @property
    def fakes(self) -> Floats:
        """(B,) fakes in all."""
        return self.true[:, -1]

    @property
    def reals(self) -> Floats:
        """(B,) reals in all."""
        return self.false[:, -1]

    @cached_property
    def tpr(self) -> Floats:
        """(B, K+1) share of the fakes found, by falling threshold."""
        return divide(self.true, self.fakes[:, None])

    @cached_property
    def fpr(self) -> Floats:
        """(B, K+1) share of the reals accused, by falling threshold."""
        return divide(self.false, self.reals[:, None])

    @cached_property
    def at_threshold(self) -> int:
        """Column of the fixed threshold: how many distinct scores reach it."""
        distinct = self.rows.score[self.rows.last]
        return int(np.searchsorted(-distinct, -self.threshold, side="right"))


# The value of one metric in every resample: (B,).
Statistic = Callable[[Resamples], Floats]


def divide(a: Floats, b: Floats) -> Floats:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def draw(label_of_unit: NDArray, resamples: int, rng: np.random.Generator) -> Floats:
    """(B, V) how often each video is drawn: with replacement, within its class, so that n per
    class stays.
    """
    count = np.zeros((resamples, len(label_of_unit)))
    for label in np.unique(label_of_unit):
        member = np.flatnonzero(label_of_unit == label)
        picked = rng.integers(0, len(member), (resamples, len(member)))
        flat = picked + np.arange(resamples)[:, None] * len(member)
        count[:, member] = np.bincount(flat.ravel(), minlength=resamples * len(member)).reshape(
            resamples, -1
        )
    return count


def _units(label: NDArray, unit: NDArray | None) -> tuple[NDArray[np.int64], NDArray]:
    """Row -> number of its video, and the stratum of each video: all real, fake in parts, all
    fake.
    """
    if unit is None:
        return np.arange(len(label)), label
    _, index, rows = np.unique(unit, return_inverse=True, return_counts=True)
    fakes = np.bincount(index, weights=label == 1)
    return index, (fakes > 0).astype(np.int64) + (fakes == rows)


def bootstrap(
    label: NDArray,
    score: Floats,
    unit: NDArray | None,
    threshold: float,
    statistics: Mapping[str, Statistic],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of every statistic, resampling whole videos within each class.

    label, score: (R,).
    unit: (R,) video of each row, None when a row is a video. Clips of one video are never
        independent, therefore the video is what is drawn (ours; Efron and Tibshirani 1993, ch. 8 on
        clusters).
    """
    index, label_of_unit = _units(label, unit)
    rows = Sorted.of(label, score, index)
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Floats]] = {}
    for size in _blocks(resamples, len(label)):
        drawn = Resamples(rows, draw(label_of_unit, size, rng)[:, rows.unit], threshold)
        for key, statistic in statistics.items():
            parts.setdefault(key, []).append(_checked(statistic(drawn), size))
    return {key: _range(np.concatenate(values)) for key, values in parts.items()}


def bootstrap_difference(
    label: NDArray,
    first: Floats,
    second: Floats,
    thresholds: tuple[float, float],
    statistics: Mapping[str, Statistic],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % interval of statistic(second) - statistic(first) on the same videos (R,), both
    resampled together.
    """
    unit = np.arange(len(label))
    rows = [Sorted.of(label, score, unit) for score in (first, second)]
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Floats]] = {}
    for size in _blocks(resamples, len(label)):
        count = draw(label, size, rng)
        a, b = (Resamples(r, count[:, r.unit], t) for r, t in zip(rows, thresholds, strict=True))
        for key, statistic in statistics.items():
            parts.setdefault(key, []).append(_checked(statistic(b) - statistic(a), size))
    return {key: _range(np.concatenate(values)) for key, values in parts.items()}


def _blocks(resamples: int, rows: int) -> list[int]:
    size = max(1, min(resamples, BLOCK // max(rows, 1)))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _range(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("a resample has no finite value")
    return float(low), float(high)


def _checked(values: Floats, size: int) -> Floats:
    if np.shape(values) != (size,):
        raise ValueError(f"a statistic gives {np.shape(values)} values for {size} resamples")
    return values
