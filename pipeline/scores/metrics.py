"""Scores and labels in, the field's metrics out, each with an interval or with the reason why it
does not exist.

Point values come from scikit-learn, so that anybody recomputes them from the scores file;
bootstrap.py resamples the videos. Positive class is fake (label 1), a score is the probability of
fake, a decision is `score >= threshold`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk
from sklearn.manifold import TSNE

from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores import bootstrap

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

ECE_BINS = 15

# key -> (name in tables, what a reader should know, needs: both classes, a fake, or any video)
METRICS: dict[str, tuple[str, str, str]] = {
    "auc": ("AUC", "chance that a random fake scores above a random real", "both"),
    "ap": ("AP", "area under precision over recall, fake is positive", "both"),
    "eer": (
        "EER",
        "rate where false alarms and misses are equal, between two points of the ROC by a line",
        "both",
    ),
    "acc": ("ACC", "share of right decisions at the threshold", "any"),
    "balanced_acc": (
        "balanced ACC",
        "mean of the right decisions among reals and among fakes",
        "both",
    ),
    "f1": ("F1", "harmonic mean of precision and recall at the threshold", "fake"),
    "tpr_at_fpr_1": (
        "TPR at 1 % FPR",
        "fakes found while at most 1 % of the reals are accused",
        "both",
    ),
    "tpr_at_fpr_10": (
        "TPR at 10 % FPR",
        "fakes found while at most 10 % of the reals are accused",
        "both",
    ),
    "log_loss": ("log-loss", "mean negative log of the probability given to the true label", "any"),
    "ece": ("ECE", f"calibration error over {ECE_BINS} equal bins of the score", "any"),
}

# Smaller is better for these; a table may mark the best of a column.
COSTS = frozenset({"eer", "log_loss", "ece"})


@dataclass(frozen=True)
class Measure:
    """One metric: its value and 95 % interval, or null; `note` is the reason for null, or what
    weakens the value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""

    def as_json(self) -> dict[str, object]:
        return {"value": self.value, "low": self.low, "high": self.high, "note": self.note}


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
    index = bootstrap.bin_of(score, bins)
    fakes = np.bincount(index, weights=label, minlength=bins)
    sums = np.bincount(index, weights=score, minlength=bins)
    return float(np.abs(fakes - sums).sum() / len(label))


def _computed(label: Labels, score: Floats, threshold: float) -> dict[str, Callable[[], float]]:
    decision = (score >= threshold).astype(np.int64)
    return {
        "auc": lambda: sk.roc_auc_score(label, score),
        "ap": lambda: sk.average_precision_score(label, score),
        "eer": lambda: equal_error_rate(label, score),
        "acc": lambda: sk.accuracy_score(label, decision),
        "balanced_acc": lambda: sk.balanced_accuracy_score(label, decision),
        "f1": lambda: sk.f1_score(label, decision, zero_division=0.0),
        "tpr_at_fpr_1": lambda: tpr_at_fpr(label, score, 0.01),
        "tpr_at_fpr_10": lambda: tpr_at_fpr(label, score, 0.10),
        "log_loss": lambda: sk.log_loss(label, score, labels=[REAL, FAKE]),
        "ece": lambda: calibration_error(label, score),
    }


def _why_undefined(needs: str, reals: int, fakes: int) -> str:
    if reals + fakes == 0:
        return "nothing was scored"
    if needs in ("both", "fake") and fakes == 0:
        return "no fake among the scored videos"
    if needs == "both" and reals == 0:
        return "no real among the scored videos"
    return ""


def _weakness(key: str, reals: int) -> str:
    """An operating point at 1 % needs at least 100 reals; with fewer it is the point without any
    false alarm.
    """
    limit = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_10": 0.10}.get(key)
    if limit is not None and reals * limit < 1:
        return (
            f"{reals} reals: the smallest FPR above zero is {100 / reals:.1f} %, so this is "
            "the TPR at FPR 0"
        )
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
    reals, fakes = int((label == REAL).sum()), int((label == FAKE).sum())
    ranges = (
        bootstrap.bootstrap(label, score, unit, threshold, resamples, seed)
        if resamples and len(label)
        else {}
    )
    computed = _computed(label, score, threshold)
    result = {}
    for key, (_, _, needs) in METRICS.items():
        reason = _why_undefined(needs, reals, fakes)
        if reason:
            result[key] = Measure(None, note=reason)
            continue
        low, high = ranges.get(key, (None, None))
        result[key] = Measure(float(computed[key]()), low, high, _weakness(key, reals))
    return result


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


def roc(label: Labels, score: Floats) -> tuple[Floats, Floats, Floats]:
    """fpr, tpr, threshold of every operating point, from (0, 0) to (1, 1)."""
    return sk.roc_curve(label, score, drop_intermediate=False)


def confusion(label: Labels, score: Floats, threshold: float) -> dict[str, int]:
    """Counts of the four outcomes at the threshold."""
    matrix = sk.confusion_matrix(label, (score >= threshold).astype(np.int64), labels=[REAL, FAKE])
    names = ("real_as_real", "real_as_fake", "fake_as_real", "fake_as_fake")
    return dict(zip(names, map(int, matrix.ravel()), strict=True))


def embed(feature: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """t-SNE picture (R, 2) of features (R, D); R must be at least 5. Distances between groups mean
    nothing.
    """
    perplexity = min(30.0, (len(feature) - 1) / 3)
    return TSNE(
        perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed
    ).fit_transform(feature)
