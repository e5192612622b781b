"""A metric in fifteen lines."""

import numpy as np

from unmask.pipeline.scores.metrics import Metric, one_by_one


def squared(label: np.ndarray, score: np.ndarray, threshold: float) -> float:
    """label, score: (R,). Mean squared distance of the score from the label."""
    return float(np.mean((score - label) ** 2))


SQUARED = Metric(
    key="squared",
    name="Squared",
    meaning="mean squared distance of the score from the label",
    needs="any",
    value=squared,
    resampled=one_by_one(squared),
    lower_is_better=True,
)
