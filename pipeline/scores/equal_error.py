"""The equal error rate of many resamples of many videos in milliseconds: only operating points near
the crossing of false alarms and misses can decide it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.scores.bootstrap import LEVEL, divide

Floats = NDArray[np.float64]

# Operating points kept around the crossing, and how many standard deviations it may move.
POINTS, REACH = 200, 6.0


def crossing(fpr: Floats, tpr: Floats) -> Floats:
    """(B,) rate where false alarms equal misses, on the line between two points of each ROC.

    fpr, tpr: (B, K) by falling threshold, from 0 to 1.
    """
    excess = fpr - (1 - tpr)  # rises from -1 to 1
    after = np.argmax(excess >= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    low, high = np.take_along_axis(excess, before, 1), np.take_along_axis(excess, after, 1)
    start, end = np.take_along_axis(fpr, before, 1), np.take_along_axis(fpr, after, 1)
    return (start + divide(-low, high - low) * (end - start))[:, 0]


def equal_error(
    label: NDArray, score: Floats, resamples: int = 0, seed: int = 0
) -> tuple[float, float | None, float | None]:
    """Equal error rate of (R,) videos with its 95 % bootstrap interval, None without resamples.

    A resample draws how many reals and fakes fall between two operating points, which is all that
    a rate depends on (multinomial, so the law is that of drawing videos). Of more than POINTS
    within REACH standard deviations of the crossing, evenly spaced ones are kept: between two of
    them the ROC is taken as a line.
    """
    fakes, reals = (np.sort(score[label == value]) for value in (1, 0))
    edges = np.append(np.unique(score)[::-1], -np.inf)
    fpr, tpr = (
        np.concatenate([[0.0], 1 - np.searchsorted(of, edges[:-1], side="left") / len(of)])
        for of in (reals, fakes)
    )
    value = float(crossing(fpr[None], tpr[None])[0])
    if not resamples:
        return value, None, None
    rate = min(max(value, 1 / len(score)), 0.5)
    reach = REACH * np.sqrt(rate * (1 - rate) * (1 / len(reals) + 1 / len(fakes)))
    excess = fpr - (1 - tpr)
    after = int(np.argmax(excess >= 0))
    # The two points of the crossing itself stay, also where scores are few and their steps large.
    near = np.union1d(np.flatnonzero(np.abs(excess) <= reach), [after - 1, after])
    inside = np.linspace(near[0], near[-1], min(POINTS, len(near))).astype(np.int64)
    kept = np.unique(np.concatenate([[0], inside, [len(fpr) - 1]]))
    rng = np.random.default_rng(seed)
    drawn = [
        _cumulated(rng, of[kept], count, resamples)
        for of, count in ((fpr, len(reals)), (tpr, len(fakes)))
    ]
    low, high = np.quantile(crossing(*drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return value, float(low), float(high)


def _cumulated(rng: np.random.Generator, rate: Floats, count: int, resamples: int) -> Floats:
    """(B, K) rates of resamples at the operating points of (K,) rates."""
    share = np.clip(np.diff(rate), 0, 1)
    drawn = rng.multinomial(count, share / share.sum(), size=resamples)
    return np.hstack([np.zeros((resamples, 1)), np.cumsum(drawn, axis=1) / count])
