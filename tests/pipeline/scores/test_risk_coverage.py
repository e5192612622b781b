"""Risk over coverage, worked by hand and against counting one video after the other."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.scores.bootstrap import Resamples, Sorted, draw
from unmask.pipeline.scores.metrics import METRICS, measure, one_by_one
from unmask.pipeline.scores.risk_coverage import confidence, from_confidence, risk_coverage


def test_worked_by_hand() -> None:
    found = from_confidence(
        np.array([0.95, 0.90, 0.80, 0.70, 0.60, 0.55]), np.array([0, 0, 1, 0, 1, 0])
    )
    assert (found.aurc, found.best) == pytest.approx((0.219444, 0.088889), abs=1e-6)
    assert (found.excess, found.augrc) == pytest.approx((0.130556, 1 / 6), abs=1e-6)
    assert found.coverage_at == pytest.approx((2 / 6, 2 / 6))
    assert found.risk_at == pytest.approx((0.4, 1 / 3))


def test_ties_share_their_errors() -> None:
    rng = np.random.default_rng(0)
    sure, wrong = np.round(rng.random(40), 1), rng.random(40) < 0.3
    found = from_confidence(sure, wrong)
    mean = [wrong[sure == value].mean() for value in sure]
    order = np.argsort(-sure, kind="stable")
    lost = np.cumsum(np.array(mean)[order])
    assert found.aurc == pytest.approx((lost / np.arange(1, 41)).mean())
    assert found.augrc == pytest.approx((lost / 40).mean())
    first_best = np.cumsum(np.sort(wrong.astype(float))) / np.arange(1, 41)
    assert found.best == pytest.approx(first_best.mean())


def test_confidence_is_the_share_of_its_side() -> None:
    found = confidence(np.array([0.0, 0.1, 0.2, 0.6, 1.0]), 0.2)
    assert found == pytest.approx([1.0, 0.5, 0.0, 0.5, 1.0])


def test_a_perfect_detector_risks_nothing_and_a_swapped_one_everything() -> None:
    label, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    right, swapped = risk_coverage(label, score), risk_coverage(1 - label, score)
    assert (right.aurc, right.coverage_at) == (0, (1, 1))
    assert (swapped.aurc, swapped.excess, swapped.coverage_at) == (1, 0, (0, 0))


def test_all_resamples_at_once_are_each_as_counted_alone() -> None:
    rng = np.random.default_rng(3)
    label = np.repeat([0, 1], [30, 50])
    score = np.round(rng.random(80), 2)
    rows = Sorted.of(label, score, np.arange(80))
    drawn = Resamples(rows, draw(label, 20, rng)[:, rows.unit], 0.4)
    metric = METRICS["aurc"]
    assert metric.resampled(drawn) == pytest.approx(one_by_one(metric.value)(drawn))
    assert METRICS["brier"].resampled(drawn) == pytest.approx(
        one_by_one(METRICS["brier"].value)(drawn)
    )
    found = measure(label, score, threshold=0.4, resamples=200)["aurc"]
    assert found.low < found.value < found.high
