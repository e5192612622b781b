"""Logistic regression many times over on the same rows with other labels: scikit-learn's model (L2,
C = 1, intercept free) by Newton's method, all labellings at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS, ENOUGH, FARTHEST = 40, 1e-7, 5.0


def fit_logistic(rows: Floats, labels: NDArray, strength: float = 1.0) -> Floats:
    """(B, K + 1) coefficients, the intercept last, of least strength * log-loss + half the squared
    coefficients.

    rows: (R, K). labels: (B, R) of 0 and 1, a model each.
    """
    inside = np.hstack([rows, np.ones((len(rows), 1))])
    size = inside.shape[1]
    pairs = (inside[:, :, None] * inside[:, None, :]).reshape(len(rows), size * size)
    ridge = np.full(size, 1.0 / strength)
    ridge[-1] = 1e-9  # the intercept is free; with one class it must still end somewhere
    weight = np.zeros((len(labels), size))
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(weight @ inside.T, -30, 30)))  # (B, R)
        slope = (chance - labels) @ inside + ridge * weight
        curve = (np.maximum(chance * (1 - chance), 1e-9) @ pairs).reshape(-1, size, size)
        curve += np.diag(ridge)
        step = np.linalg.solve(curve, slope[:, :, None])[:, :, 0]
        # The loss is convex and overshooting happens early only: far steps are shortened.
        length = np.abs(step).max(axis=1, keepdims=True)
        weight -= step * np.minimum(1.0, FARTHEST / np.maximum(length, 1e-12))
        if length.max() < ENOUGH:
            break
    return weight


def logits(rows: Floats, weight: Floats) -> Floats:
    """(B, R) of (R, K) rows and (B, K + 1) models."""
    return weight[:, :-1] @ rows.T + weight[:, -1:]
