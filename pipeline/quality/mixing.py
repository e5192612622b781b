"""Numbers beside the picture of a feature space: can real and fake be told apart in it?

One half for accuracy and AUC and about 0 for the silhouette say that they lie mixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.bootstrap import LEVEL, bootstrap
from unmask.pipeline.scores.metrics import METRICS, Measure

Floats = NDArray[np.float64]

NEIGHBOURS, FOLDS = 5, 5


def unit(feature: Floats) -> Floats:
    """Features (n, D) at unit length; zeros stay."""
    length = np.linalg.norm(feature, axis=1, keepdims=True)
    return feature / np.where(length > 0, length, 1)


def nearest_neighbours(
    feature: Floats, label: NDArray, group: NDArray, resamples: int = 1000, seed: int = 0
) -> Measure:
    """Balanced accuracy of the majority of the five nearest features of other leakage groups, with
    a bootstrap over groups; null where there are too few.

    feature: (n, D). label, group: (n,).
    """
    names, place = np.unique(group, return_inverse=True)
    if len(feature) - int(np.bincount(place).max(initial=0)) < NEIGHBOURS:
        return Measure(None, note="fewer than five videos of other groups")
    ready = unit(feature)
    nearness = ready @ ready.T
    nearness[place[:, None] == place] = -np.inf
    # Equal features must have equal answers: rounding would choose among equals.
    nearest = np.argsort(-nearness.round(9), axis=1, kind="stable")[:, :NEIGHBOURS]
    said = np.where(2 * label[nearest].sum(axis=1) > NEIGHBOURS, FAKE, REAL)
    right = (said == label).astype(np.float64)
    counts = [np.bincount(place, label == value, len(names)) for value in (REAL, FAKE)]
    hits = [np.bincount(place, right * (label == value), len(names)) for value in (REAL, FAKE)]
    if not all(count.any() for count in counts):
        return Measure(None, note="one class only")

    def accuracy(weight: Floats) -> Floats:
        shares = [
            (weight @ hit) / np.maximum(weight @ count, 1e-12)
            for hit, count in zip(hits, counts, strict=True)
        ]
        return (shares[0] + shares[1]) / 2

    value = float(accuracy(np.ones((1, len(names))))[0])
    low, high = np.quantile(
        accuracy(drawn_groups(len(names), resamples, seed)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    )
    return Measure(value, float(low), float(high))


def separability(
    feature: Floats, label: NDArray, group: NDArray, resamples: int = 1000, seed: int = 0
) -> Measure:
    """AUC of logistic regression on features of leakage groups that it was not fitted on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    if len(np.unique(group)) < FOLDS:
        return Measure(None, note="fewer than five leakage groups")
    ready, score = unit(feature), np.zeros(len(label))
    for fitted, held in GroupKFold(FOLDS).split(ready, label, group):
        if len(np.unique(label[fitted])) < 2:
            return Measure(None, note="a fold holds one class only")
        mean, spread = ready[fitted].mean(axis=0), ready[fitted].std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        model = LogisticRegression(max_iter=300)
        model.fit((ready[fitted] - mean) / spread, label[fitted])
        score[held] = model.decision_function((ready[held] - mean) / spread)
    score = score.round(9)
    auc = METRICS["auc"]
    place = np.unique(group, return_inverse=True)[1]
    low, high = bootstrap(label, score, place, 0.5, {"auc": auc.resampled}, resamples, seed)["auc"]
    return Measure(auc.value(label, score, 0.5), low, high)


def silhouette(feature: Floats, label: NDArray) -> Measure:
    """Mean silhouette of the two classes (Rousseeuw 1987), -1 to 1."""
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(label)) < len(label):
        return Measure(None, note="fewer than three videos")
    return Measure(float(silhouette_score(unit(feature), label)))


def drawn_groups(groups: int, resamples: int, seed: int) -> Floats:
    """(B, G) how often each group is drawn, with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, groups, (resamples, groups))
    flat = (drawn + np.arange(resamples)[:, None] * groups).ravel()
    return np.bincount(flat, minlength=resamples * groups).reshape(resamples, groups).astype(float)
