"""The formulas of the metrics: point values by scikit-learn, and their resampled twins, which give
the same of every resample at once.

label (R,) int64 is 1 for fake, score (R,) float64 the probability of fake; twins give (B,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.bootstrap import Resamples, bin_of, divide
from unmask.pipeline.scores.equal_error import crossing

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

ECE_BINS = 15


class _Sklearn:
    """sklearn.metrics, imported when the first number is computed: a table of numbers that are
    known waits for no library.
    """

    def __getattr__(self, name: str) -> Any:
        from sklearn import metrics

        return getattr(metrics, name)


sk = _Sklearn()


def equal_error_rate(label: Labels, score: Floats) -> float:
    """Rate where FPR equals FNR, on the straight line between the two ROC points around the
    crossing.
    """
    fpr, tpr, _ = sk.roc_curve(label, score, drop_intermediate=False)
    excess = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    part = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(fpr[after - 1] + part * (fpr[after] - fpr[after - 1]))


def tpr_at_fpr(label: Labels, score: Floats, limit: float) -> float:
    """Largest TPR of an operating point whose FPR is at most `limit`; nothing is interpolated."""
    fpr, tpr, _ = sk.roc_curve(label, score, drop_intermediate=False)
    return float(tpr[fpr <= limit].max())


def calibration_error(label: Labels, score: Floats, bins: int = ECE_BINS) -> float:
    """Expected calibration error: sum over equal score bins of n/N * |share of fakes - mean score|.

    Source: Guo et al. 2017 eq. 3, on the probability of fake instead of the confidence, as usual
    for two classes.
    """
    index = bin_of(score, bins)
    fakes = np.bincount(index, weights=label, minlength=bins)
    sums = np.bincount(index, weights=score, minlength=bins)
    return float(np.abs(fakes - sums).sum() / len(label))


def tpr_at_resampled(limit: float, drawn: Resamples) -> Floats:
    """`tpr_at_fpr` of every resample."""
    reached = (drawn.fpr <= limit).sum(axis=1, keepdims=True) - 1  # fpr rises along the axis
    return np.take_along_axis(drawn.tpr, reached, 1)[:, 0]


def auc_resampled(drawn: Resamples) -> Floats:
    """Area under the ROC of every resample, by trapezoids."""
    return (np.diff(drawn.fpr) * (drawn.tpr[:, 1:] + drawn.tpr[:, :-1]) / 2).sum(axis=1)


def average_precision_resampled(drawn: Resamples) -> Floats:
    """Average precision of every resample."""
    precision = divide(drawn.true, drawn.true + drawn.false)[:, 1:]
    return (np.diff(drawn.tpr) * precision).sum(axis=1)


def equal_error_resampled(drawn: Resamples) -> Floats:
    """`equal_error_rate` of every resample."""
    return crossing(drawn.fpr, drawn.tpr)


def accuracy_resampled(drawn: Resamples) -> Floats:
    """Share of right decisions in every resample."""
    hits, alarms = drawn.true[:, drawn.at_threshold], drawn.false[:, drawn.at_threshold]
    return (hits + drawn.reals - alarms) / (drawn.fakes + drawn.reals)


def balanced_accuracy_resampled(drawn: Resamples) -> Floats:
    """Mean of both classes' shares of right decisions in every resample."""
    return (drawn.tpr[:, drawn.at_threshold] + 1 - drawn.fpr[:, drawn.at_threshold]) / 2


def f1_resampled(drawn: Resamples) -> Floats:
    """F1 of the fakes in every resample."""
    hits, alarms = drawn.true[:, drawn.at_threshold], drawn.false[:, drawn.at_threshold]
    return divide(2 * hits, hits + alarms + drawn.fakes)


def log_loss_resampled(drawn: Resamples) -> Floats:
    """Mean cross-entropy of every resample, in nats."""
    score, tiny = drawn.rows.score, np.finfo(np.float64).eps
    chance = np.clip(np.where(drawn.rows.fake, score, 1 - score), tiny, 1)
    return drawn.weight @ -np.log(chance) / (drawn.fakes + drawn.reals)


def calibration_error_resampled(drawn: Resamples) -> Floats:
    """`calibration_error` of every resample, with ECE_BINS bins."""
    rows = drawn.rows
    member = np.zeros((len(rows.score), ECE_BINS))
    gap = rows.fake - rows.score
    member[np.arange(len(rows.score)), bin_of(rows.score, ECE_BINS)] = gap
    return np.abs(drawn.weight @ member).sum(axis=1) / (drawn.fakes + drawn.reals)


def brier_resampled(drawn: Resamples) -> Floats:
    """Mean squared distance of score and label in every resample."""
    squared = (drawn.rows.fake - drawn.rows.score) ** 2
    return drawn.weight @ squared / (drawn.fakes + drawn.reals)


def roc(label: Labels, score: Floats) -> tuple[Floats, Floats, Floats]:
    """fpr, tpr, threshold of every operating point, from (0, 0) to (1, 1)."""
    return sk.roc_curve(label, score, drop_intermediate=False)


def confusion(label: Labels, score: Floats, threshold: float) -> dict[str, int]:
    """Counts of the four outcomes at the threshold."""
    matrix = sk.confusion_matrix(label, (score >= threshold).astype(np.int64), labels=[REAL, FAKE])
    names = ("real_as_real", "real_as_fake", "fake_as_real", "fake_as_fake")
    return dict(zip(names, map(int, matrix.ravel()), strict=True))
