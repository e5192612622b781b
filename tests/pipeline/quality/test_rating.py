"""Means of methods: intervals over leakage groups, and which pairs stand for a method."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.config import QualityConfig
from unmask.pipeline.quality.measure import Measured
from unmask.pipeline.quality.rating import mean_of, rate


def row(name: str, method: str, group: str, value: float | None) -> Measured:
    values = {"mask_ssim": value, "crop_ssim": 0.9}
    return Measured(name, name, method, "c23", group, "face", 2, 10, 0, 0, values)


def test_the_interval_is_that_of_whole_groups() -> None:
    """Twins of a group add no certainty: twice the rows, the same interval as the groups' alone."""
    rng = np.random.default_rng(0)
    means = rng.normal(0.8, 0.05, 40)
    groups = np.array([f"g{n:02}" for n in range(40)])
    alone = mean_of(means.tolist(), groups)
    twins = mean_of(np.repeat(means, 3).tolist(), np.repeat(groups, 3))
    assert twins.value == pytest.approx(alone.value) == pytest.approx(means.mean())
    assert (twins.low, twins.high) == pytest.approx((alone.low, alone.high))
    normal = 1.96 * means.std() / np.sqrt(40)  # large-sample interval of a mean
    assert alone.high - alone.low == pytest.approx(2 * normal, rel=0.15)


def test_pairs_without_a_value_count_with_nobody() -> None:
    groups = np.array(["a", "b", "c", "d", "e", "f"])
    found = mean_of([0.5, None, 0.7, 0.6, 0.6, 0.6], groups)
    assert found.value == pytest.approx(0.6) and found.low < 0.6 < found.high
    assert mean_of([None, None], groups[:2]).value is None
    few = mean_of([0.5, 0.7], groups[:2])
    assert (
        few.value == pytest.approx(0.6)
        and few.low is None
        and "leakage groups: 2, too few" in few.note
    )


def test_methods_are_never_pooled_and_too_few_pairs_are_not_rated() -> None:
    rows = [row(f"a{n}", "A", f"g{n}", 0.5 + n / 100) for n in range(11)]
    rows += [row(f"b{n}", "B", f"g{n}", 0.9) for n in range(3)]
    first, second = rate(rows, QualityConfig())
    assert (first.method, first.pairs, first.groups, first.frames) == ("A", 11, 11, 110)
    assert (first.best, first.median, first.worst) == ("a10", "a5", "a0")
    assert first.measures["mask_ssim"].value == pytest.approx(0.55)
    assert second.refused == "3 of at least 10 pairs" and not second.measures
    assert rate(rows, QualityConfig(least_pairs=3))[1].measures["mask_ssim"].value == 0.9
