"""A perturbation in ten lines, of two levels."""

import numpy as np

from unmask.pipeline.evaluation.robustness import Perturbation


def grey(clip: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """clip: (T, S, S, 3) uint8 RGB, moved towards its grey by `share`."""
    mean = clip.mean(-1, keepdims=True)
    return np.rint(clip + share * (mean - clip)).astype(np.uint8)


GREY = Perturbation("grey", "towards grey", (0.5, 1.0), grey)
