"""The Brier score and what it is made of: how honest the probabilities are, how much they tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.scores.bootstrap import bin_of

Floats = NDArray[np.float64]

BINS = 15


@dataclass(frozen=True)
class Brier:
    """value = reliability - resolution + uncertainty + remainder.

    value: mean squared distance of score and label.
    reliability: how far scores are from the share of fakes at that score; 0 is best.
    resolution: how far those shares are from the share of all; uncertainty is best.
    uncertainty: of the labels alone, y (1 - y).
    remainder: what lies inside bins; 0 where each distinct score is a group of its own.
    skill: 1 - value / uncertainty; 0 for knowing the class ratio only, None with one class.
    """

    value: float
    reliability: float
    resolution: float
    uncertainty: float
    remainder: float
    skill: float | None


def brier(label: NDArray, score: Floats, bins: int = 0, even: bool = False) -> Brier:
    """The Brier score of (R,) labels and probabilities of fake, taken apart.

    bins: equal parts of [0, 1] that are groups; 0 takes every distinct score as one.
    even: both classes weigh the same, as in a set that holds as many reals as fakes.
    Source: Murphy 1973; with bins the terms inside a bin are the remainder
    (Stephenson et al. 2008).
    """
    label, score = np.asarray(label, dtype=np.float64), np.asarray(score, dtype=np.float64)
    weight = np.full(len(label), 1 / len(label))
    if even and 0 < label.sum() < len(label):
        weight = np.where(label == 1, 0.5 / label.sum(), 0.5 / (1 - label).sum())
    group = bin_of(score, bins) if bins else np.unique(score, return_inverse=True)[1]
    mass = np.bincount(group, weights=weight)
    held = mass > 0
    mean = np.bincount(group, weights=weight * score)[held] / mass[held]
    fakes = np.bincount(group, weights=weight * label)[held] / mass[held]
    mass, overall = mass[held], float(weight @ label)
    value = float(weight @ (score - label) ** 2)
    reliability = float(mass @ (mean - fakes) ** 2)
    resolution = float(mass @ (fakes - overall) ** 2)
    uncertainty = overall * (1 - overall)
    return Brier(
        value=value,
        reliability=reliability,
        resolution=resolution,
        uncertainty=uncertainty,
        remainder=value - (reliability - resolution + uncertainty) if bins else 0.0,
        skill=1 - value / uncertainty if uncertainty > 0 else None,
    )
