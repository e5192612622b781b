"""How sure a number is: bootstrap over videos, and DeLong's test for two detectors on the same
videos.

All resamples of a block are computed together as weights on the sorted rows: a resample is a row of
counts, and every metric is a function of cumulative counts at the distinct scores. No loop over
resamples, no sorting again.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def _divide(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def weighted_metrics(
    rows: Sorted, weight: Floats, threshold: float, bins: int = 15
) -> dict[str, Floats]:
    """Every metric of every resample.

    weight: (B, R), how often each row is drawn. Returns (B,) per metric; the formulas are those of
    metrics.py.
    """
    zero = np.zeros((len(weight), 1))
    true = np.hstack(
        [zero, np.cumsum(weight * rows.fake, axis=1)[:, rows.last]]
    )  # (B, K+1) fakes at or above
    false = np.hstack([zero, np.cumsum(weight * ~rows.fake, axis=1)[:, rows.last]])
    fakes, reals = true[:, -1:], false[:, -1:]
    tpr, fpr = _divide(true, fakes), _divide(false, reals)
    # Operating point of the fixed threshold: how many distinct scores reach it.
    at = int(np.searchsorted(-rows.score[rows.last], -threshold, side="right"))
    hit, alarm = true[:, at], false[:, at]
    fakes, reals = fakes[:, 0], reals[:, 0]
    total = fakes + reals
    chance = np.clip(np.where(rows.fake, rows.score, 1 - rows.score), np.finfo(np.float64).eps, 1)
    return {
        "auc": (np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(axis=1),
        "ap": (np.diff(tpr) * _divide(true, true + false)[:, 1:]).sum(axis=1),
        "eer": _equal_error(fpr, tpr),
        "acc": (hit + reals - alarm) / total,
        "balanced_acc": (tpr[:, at] + 1 - fpr[:, at]) / 2,
        "f1": _divide(2 * hit, hit + alarm + fakes),
        "tpr_at_fpr_1": _tpr_at(fpr, tpr, 0.01),
        "tpr_at_fpr_10": _tpr_at(fpr, tpr, 0.10),
        "log_loss": weight @ -np.log(chance) / total,
        "ece": _calibration(rows, weight, bins) / total,
    }


def _equal_error(fpr: Floats, tpr: Floats) -> Floats:
    excess = fpr - (1 - tpr)
    after = np.argmax(excess >= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    low, high = np.take_along_axis(excess, before, 1), np.take_along_axis(excess, after, 1)
    start, end = np.take_along_axis(fpr, before, 1), np.take_along_axis(fpr, after, 1)
    return (start + _divide(-low, high - low) * (end - start))[:, 0]


def _tpr_at(fpr: Floats, tpr: Floats, limit: float) -> Floats:
    reached = (fpr <= limit).sum(axis=1, keepdims=True) - 1  # fpr rises along the axis
    return np.take_along_axis(tpr, reached, 1)[:, 0]


def _calibration(rows: Sorted, weight: Floats, bins: int) -> Floats:
    member = np.zeros((len(rows.score), bins))
    member[np.arange(len(rows.score)), bin_of(rows.score, bins)] = rows.fake - rows.score
    return np.abs(weight @ member).sum(axis=1)


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
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of every metric, resampling whole videos within each class.

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
        weight = draw(label_of_unit, size, rng)[:, rows.unit]
        for key, values in weighted_metrics(rows, weight, threshold).items():
            parts.setdefault(key, []).append(values)
    return {key: _range(np.concatenate(values)) for key, values in parts.items()}


def bootstrap_difference(
    label: NDArray,
    first: Floats,
    second: Floats,
    thresholds: tuple[float, float],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % interval of metric(second) - metric(first) on the same videos (R,), both resampled
    together.
    """
    unit = np.arange(len(label))
    rows = [Sorted.of(label, score, unit) for score in (first, second)]
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Floats]] = {}
    for size in _blocks(resamples, len(label)):
        count = draw(label, size, rng)
        a, b = (
            weighted_metrics(r, count[:, r.unit], t) for r, t in zip(rows, thresholds, strict=True)
        )
        for key in a:
            parts.setdefault(key, []).append(b[key] - a[key])
    return {key: _range(np.concatenate(values)) for key, values in parts.items()}


def _blocks(resamples: int, rows: int) -> list[int]:
    size = max(1, min(resamples, BLOCK // max(rows, 1)))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _range(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
