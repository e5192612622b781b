"""Several tests at once: p-values that keep their meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the order given; None, a test that does not exist, stays None.

    Compared with 0.05, they keep the chance of a single false "different" in the whole family at
    0.05, whatever the tests share.
    Source: Holm 1979; adjusted p_(i) = max over j <= i of min(1, (k - j + 1) p_(j)).
    """
    known = [place for place, p in enumerate(p_values) if p is not None]
    values = np.array([p_values[place] for place in known], dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factor = len(values) - np.arange(len(values))
    raised = np.minimum(1, np.maximum.accumulate(factor * values[order]))
    adjusted: list[float | None] = [None] * len(p_values)
    for rank, place in enumerate(order.tolist()):
        adjusted[known[place]] = float(raised[rank])
    return adjusted
