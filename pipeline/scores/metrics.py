"""Scores and labels in, the field's metrics out, each with an interval or with the reason why it
does not exist.

A metric is one record of METRICS: its point value, its value in every resample, and what tables and
pages need to know of it. Whoever adds a record adds the metric everywhere. Point values come from
scikit-learn, so that anybody recomputes them from the scores file; bootstrap.py resamples the
videos. Positive class is fake (label 1), a score is the probability of fake, a decision is
`score >= threshold`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores import bootstrap
from unmask.pipeline.scores.bootstrap import Resamples, Statistic
from unmask.pipeline.scores.formulas import (
    ECE_BINS,
    Floats,
    Labels,
    accuracy_resampled,
    auc_resampled,
    average_precision_resampled,
    balanced_accuracy_resampled,
    brier_resampled,
    calibration_error,
    calibration_error_resampled,
    equal_error_rate,
    equal_error_resampled,
    f1_resampled,
    log_loss_resampled,
    sk,
    tpr_at_fpr,
    tpr_at_resampled,
)
from unmask.pipeline.scores.risk_coverage import aurc, aurc_resampled
from unmask.plugins import take

# label (R,), score (R,) and the threshold of decisions -> the metric.
Value = Callable[[Labels, Floats, float], float]
# Distribution that metrics of this package come from.
OURS = "unmask"

ROUNDING = 1e-9


@dataclass(frozen=True)
class Metric:
    """All that there is to know of one metric.

    key: its name in metrics.json: lower-case letters, digits and _.
    name: its name in tables.
    meaning: what a reader should know, in half a sentence.
    needs: "both" classes, a "fake", or "any" video; without them the metric is null.
    value: (label (R,) int64, score (R,) float64, threshold) -> float.
    resampled: the same formula for every resample at once, Resamples -> (B,); `one_by_one(value)`
        is always right and slow.
    lower_is_better: a cost.
    ranks_only: depends on the order of the scores only, so that calibration cannot change it.
    brief: also a column of tables with little room.
    bounds: smallest and largest value it can have.
    weakness: number of reals -> what weakens the value, or "".
    origin: the distribution that brings it.
    """

    key: str
    name: str
    meaning: str
    needs: Literal["both", "fake", "any"]
    value: Value
    resampled: Statistic
    lower_is_better: bool = False
    ranks_only: bool = False
    brief: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    weakness: Callable[[int], str] = lambda reals: ""
    origin: str = OURS


@dataclass(frozen=True)
class Measure:
    """One metric's result: value and 95 % interval, or null.

    note: the reason for null, or what weakens the value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""

    def as_json(self) -> dict[str, object]:
        return {"value": self.value, "low": self.low, "high": self.high, "note": self.note}


def _few_reals(limit: float, reals: int) -> str:
    """An operating point at 1 % needs at least 100 reals; with fewer it is the point without any
    false alarm.
    """
    if reals * limit >= 1:
        return ""
    return (
        f"{reals} reals: the smallest FPR above zero is {100 / reals:.1f} %, so this is "
        "the TPR at FPR 0"
    )


def one_by_one(value: Value) -> Statistic:
    """The resampled twin of any point value: every row repeated as often as it is drawn, one
    resample after the other.
    """

    def statistic(drawn: Resamples) -> Floats:
        label = drawn.rows.fake.astype(np.int64)
        found = []
        for weight in drawn.weight:
            again = np.repeat(np.arange(len(label)), weight.astype(np.int64))
            found.append(value(label[again], drawn.rows.score[again], drawn.threshold))
        return np.array(found, dtype=np.float64)

    return statistic


def _decided(score: Floats, threshold: float) -> Labels:
    return (score >= threshold).astype(np.int64)


def _tpr_at_percent(percent: int) -> Metric:
    limit = percent / 100
    return Metric(
        key=f"tpr_at_fpr_{percent}",
        name=f"TPR at {percent} % FPR",
        meaning=f"fakes found while at most {percent} % of the reals are accused",
        needs="both",
        value=lambda label, score, threshold: tpr_at_fpr(label, score, limit),
        resampled=partial(tpr_at_resampled, limit),
        ranks_only=True,
        brief=percent == 10,
        weakness=partial(_few_reals, limit),
    )


# key -> the metric, in the order of every table.
METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            key="auc",
            name="AUC",
            meaning="chance that a random fake scores above a random real",
            needs="both",
            value=lambda label, score, threshold: sk.roc_auc_score(label, score),
            resampled=auc_resampled,
            ranks_only=True,
            brief=True,
        ),
        Metric(
            key="ap",
            name="AP",
            meaning="area under precision over recall, fake is positive",
            needs="both",
            value=lambda label, score, threshold: sk.average_precision_score(label, score),
            resampled=average_precision_resampled,
            ranks_only=True,
            brief=True,
        ),
        Metric(
            key="eer",
            name="EER",
            meaning="rate where false alarms and misses are equal, between two points of the ROC "
            "by a line",
            needs="both",
            value=lambda label, score, threshold: equal_error_rate(label, score),
            resampled=equal_error_resampled,
            lower_is_better=True,
            ranks_only=True,
            brief=True,
        ),
        Metric(
            key="acc",
            name="ACC",
            meaning="share of right decisions at the threshold",
            needs="any",
            value=lambda label, score, threshold: sk.accuracy_score(
                label, _decided(score, threshold)
            ),
            resampled=accuracy_resampled,
            brief=True,
        ),
        Metric(
            key="balanced_acc",
            name="balanced ACC",
            meaning="mean of the right decisions among reals and among fakes",
            needs="both",
            value=lambda label, score, threshold: sk.balanced_accuracy_score(
                label, _decided(score, threshold)
            ),
            resampled=balanced_accuracy_resampled,
            brief=True,
        ),
        Metric(
            key="f1",
            name="F1",
            meaning="harmonic mean of precision and recall at the threshold",
            needs="fake",
            value=lambda label, score, threshold: sk.f1_score(
                label, _decided(score, threshold), zero_division=0.0
            ),
            resampled=f1_resampled,
        ),
        _tpr_at_percent(1),
        _tpr_at_percent(10),
        Metric(
            key="log_loss",
            name="log-loss",
            meaning="mean negative log of the probability given to the true label",
            needs="any",
            value=lambda label, score, threshold: sk.log_loss(label, score, labels=[REAL, FAKE]),
            resampled=log_loss_resampled,
            lower_is_better=True,
            bounds=(0.0, math.inf),
        ),
        Metric(
            key="ece",
            name="ECE",
            meaning=f"calibration error over {ECE_BINS} equal bins of the score",
            needs="any",
            value=lambda label, score, threshold: calibration_error(label, score),
            resampled=calibration_error_resampled,
            lower_is_better=True,
        ),
        Metric(
            key="brier",
            name="Brier",
            meaning="mean squared distance of the score from the label",
            needs="any",
            value=lambda label, score, threshold: float(np.mean((score - label) ** 2)),
            resampled=brier_resampled,
            lower_is_better=True,
        ),
        Metric(
            key="aurc",
            name="AURC",
            meaning="mean share of wrong decisions as the least confident videos are left out, one "
            "after the other",
            needs="any",
            value=aurc,
            resampled=aurc_resampled,
            lower_is_better=True,
        ),
    )
}


def add_metric(metric: Metric) -> None:
    """Make a metric part of every measurement, table, comparison and page from now on.

    Raises UsageError for a key that is taken or no key.
    """
    if not re.fullmatch("[a-z][a-z0-9_]{0,40}", metric.key):
        raise UsageError(
            f"metric {metric.key!r} of {metric.origin}: a key is lower-case letters, digits and _"
        )
    if metric.key in METRICS:
        raise UsageError(
            f"metric {metric.key!r} of {metric.origin}: {METRICS[metric.key].origin} has one of "
            "this key already"
        )
    METRICS[metric.key] = metric


OWN_KEYS = frozenset(METRICS)


def known_metrics() -> dict[str, Metric]:
    """METRICS with those that installed packages offer under the entry-point group
    `unmask.metrics`; a package that cannot be used is one warning.
    """
    take("metrics", OWN_KEYS, Metric, "key", add_metric, UsageError)
    return METRICS


def brief_keys() -> tuple[str, ...]:
    """The metrics of tables with little room: few enough for a phone held sideways."""
    return tuple(key for key, metric in METRICS.items() if metric.brief)


def calibration_keys() -> tuple[str, ...]:
    """The metrics that a calibration can change."""
    return tuple(key for key, metric in METRICS.items() if not metric.ranks_only)


def _why_undefined(needs: str, reals: int, fakes: int) -> str:
    if reals + fakes == 0:
        return "nothing was scored"
    if needs in ("both", "fake") and fakes == 0:
        return "no fake among the scored videos"
    if needs == "both" and reals == 0:
        return "no real among the scored videos"
    return ""


def measure(
    label: Labels,
    score: Floats,
    *,
    threshold: float = 0.5,
    unit: NDArray | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Measure]:
    """Every metric of METRICS.

    label, score: (R,).
    unit: (R,) which video a row belongs to; intervals resample these, stratified by class,
        `resamples` times (0: no intervals).

    Raises ValueError for labels other than 0 and 1 and for scores that are not finite or leave [0,
    1].
    """
    label, score = checked(label, score)
    points = {
        key: _point(metric, label, score, threshold) for key, metric in known_metrics().items()
    }

    def resample(statistics: dict[str, Statistic]) -> dict[str, tuple[float, float]]:
        return bootstrap.bootstrap(label, score, unit, threshold, statistics, resamples, seed)

    return _with_intervals(points, resample if resamples else None)


def measure_difference(
    label: Labels,
    first: Floats,
    second: Floats,
    *,
    threshold: float = 0.5,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Measure]:
    """second - first of every metric of METRICS on the same videos (R,), resampled together.

    A metric that one of the two lacks has no difference; the note says which and why.
    Raises ValueError as `measure` does.
    """
    (label, first), (_, second) = checked(label, first), checked(label, second)
    points = {}
    for key, metric in known_metrics().items():
        one, two = (_point(metric, label, score, threshold) for score in (first, second))
        if one.value is None or two.value is None:
            points[key] = Measure(None, note=one.note if one.value is None else two.note)
        else:
            points[key] = Measure(two.value - one.value, note=one.note)

    def resample(statistics: dict[str, Statistic]) -> dict[str, tuple[float, float]]:
        return bootstrap.bootstrap_difference(
            label, first, second, (threshold, threshold), statistics, resamples, seed
        )

    return _with_intervals(points, resample if resamples else None)


def _point(metric: Metric, label: Labels, score: Floats, threshold: float) -> Measure:
    reals, fakes = int((label == REAL).sum()), int((label == FAKE).sum())
    reason = _why_undefined(metric.needs, reals, fakes)
    if reason:
        return Measure(None, note=reason)
    try:
        value = float(metric.value(label, score, threshold))
    except Exception as error:
        if metric.origin == OURS:
            raise
        return Measure(None, note=_failed(metric, error))
    low, high = metric.bounds
    # A sum of fractions may end a rounding beyond its bound: AP 1.0000000000000002 is 1.
    if low - ROUNDING <= value <= high + ROUNDING:
        value = min(max(value, low), high)
    if not (math.isfinite(value) and low <= value <= high):
        note = f"{metric.key} of {metric.origin} gives {value}, its bounds are {low:g} and {high:g}"
        return Measure(None, note=note)
    return Measure(value, note=metric.weakness(reals))


def _with_intervals(
    points: dict[str, Measure],
    resample: Callable[[dict[str, Statistic]], dict[str, tuple[float, float]]] | None,
) -> dict[str, Measure]:
    """The points with the interval of each that has a value.

    Our metrics share their draws. One of somebody else draws the same numbers again for itself, so
    that its failure costs nobody else an interval.
    """
    if resample is None:
        return points
    defined = [METRICS[key] for key, point in points.items() if point.value is not None]
    shared = _statistics(metric for metric in defined if metric.origin == OURS)
    ranges, failures = resample(shared) if shared else {}, {}
    for metric in defined:
        if metric.origin != OURS:
            try:
                ranges |= resample(_statistics([metric]))
            except Exception as error:
                failures[metric.key] = _failed(metric, error)
    result = {}
    for key, point in points.items():
        low, high = ranges.get(key, (None, None))
        note = "; ".join(filter(None, (point.note, failures.get(key, ""))))
        result[key] = Measure(point.value, low, high, note)
    return result


def _statistics(metrics: Iterable[Metric]) -> dict[str, Statistic]:
    return {metric.key: metric.resampled for metric in metrics}


def _failed(metric: Metric, error: Exception) -> str:
    why = f"{type(error).__name__}: {error}"
    return f"{metric.key} of {metric.origin} failed: {why[:200]}"


def checked(label: Labels, score: Floats) -> tuple[Labels, Floats]:
    """The same arrays as int64 and float64, refused when a label or a score is impossible."""
    label, score = np.asarray(label, dtype=np.int64), np.asarray(score, dtype=np.float64)
    if label.ndim != 1 or label.shape != score.shape:
        raise ValueError(
            f"labels and scores must be two equally long rows, got {label.shape} and {score.shape}"
        )
    if not np.isin(label, (REAL, FAKE)).all():
        raise ValueError("labels must be 0 (real) or 1 (fake)")
    if not np.isfinite(score).all() or (score < 0).any() or (score > 1).any():
        raise ValueError("scores must be probabilities of fake between 0 and 1")
    return label, score
