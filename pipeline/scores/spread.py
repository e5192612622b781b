"""Several trainings of one detector: what another seed would move. Other videos are the business
of the bootstrap; the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.pipeline.scores.bootstrap import LEVEL


@dataclass(frozen=True)
class Spread:
    """mean of `runs` values, their standard deviation (n - 1), and the 95 % t interval of the mean;
    None with fewer than two.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if self.sd is None else f" ± {self.sd:.3f}")


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of one number over seeds (or of a difference between paired seeds)."""
    found, runs = np.asarray(values, dtype=np.float64), len(values)
    mean = float(found.mean())
    if runs < 2:
        return Spread(mean, None, None, None, runs)
    from scipy.stats import t  # late: half a second, and a table of runs has one seed mostly

    sd = float(found.std(ddof=1))
    half = float(t.ppf((1 + LEVEL) / 2, runs - 1)) * sd / runs**0.5
    return Spread(mean, sd, mean - half, mean + half, runs)
