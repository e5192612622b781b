"""Seeds and operating points, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.scores.operating_point import operating_point, wilson
from unmask.pipeline.scores.spread import spread


@pytest.mark.parametrize(
    ("values", "mean", "sd", "half"),
    [
        ([0.90, 0.92, 0.94], 0.920, 0.020, 0.0497),
        ([0.905, 0.921, 0.913, 0.930, 0.911], 0.916, 0.0097, 0.0120),
    ],
)
def test_mean_spread_and_interval_of_seeds(values, mean, sd, half) -> None:
    found = spread(values)
    assert (found.mean, found.sd) == pytest.approx((mean, sd), abs=5e-5)
    assert found.high - found.mean == pytest.approx(half, abs=5e-5)
    assert found.mean - found.low == pytest.approx(half, abs=5e-5)


def test_one_seed_has_no_spread() -> None:
    assert str(spread([0.9])) == "0.900" and spread([0.9]).sd is None
    assert str(spread([0.9, 0.92])) == "0.910 ± 0.014"


def test_one_threshold_from_the_reals_serves_all_generators() -> None:
    reals = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.10, 0.12, 0.20, 0.35, 0.70])
    a, b = np.array([0.9, 0.8, 0.36, 0.34]), np.array([0.71, 0.3, 0.2, 0.1])
    tenth, fifth = operating_point(reals, 0.1), operating_point(reals, 0.2)
    assert (tenth.threshold, tenth.alarms, tenth.note) == (0.35, 1, "")
    assert [(x > tenth.threshold).mean() for x in (a, b)] == [0.75, 0.25]
    assert fifth.threshold == 0.20
    assert [(x > fifth.threshold).mean() for x in (a, b)] == [1.0, 0.5]
    assert "no alarm among 10 reals" in operating_point(reals, 0.01).note
    assert operating_point(reals, 1.0).threshold == 0.01


def test_wilson_intervals() -> None:
    assert wilson(45, 50) == pytest.approx((0.786, 0.957), abs=5e-4)
    assert wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=5e-5)
    assert wilson(100, 100)[1] == 1.0 and wilson(0, 0) == (0.0, 1.0)
