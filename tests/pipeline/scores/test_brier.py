"""The Brier score's parts, worked by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from unmask.pipeline.scores.brier import brier
from unmask.pipeline.scores.metrics import measure

SCORE = np.repeat([0.1, 0.5, 0.9], [4, 4, 2])
LABEL = np.array([0, 0, 0, 1, 0, 1, 1, 0, 1, 1])


def test_the_parts_worked_by_hand() -> None:
    found = brier(LABEL, SCORE)
    assert (found.value, found.reliability, found.resolution) == pytest.approx(
        (0.186, 0.011, 0.075)
    )
    assert (found.uncertainty, found.skill) == pytest.approx((0.25, 0.256))
    assert found.remainder == 0
    values = measure(LABEL, SCORE)
    assert values["log_loss"].value == pytest.approx(0.560198, abs=1e-6)
    assert values["brier"].value == pytest.approx(0.186)


@pytest.mark.parametrize("bins", [0, 5, 15])
def test_the_parts_make_the_whole(bins: int) -> None:
    rng = np.random.default_rng(1)
    label, score = rng.integers(0, 2, 300), rng.random(300)
    found = brier(label, score, bins)
    assert found.value == pytest.approx(brier_score_loss(label, score))
    whole = found.reliability - found.resolution + found.uncertainty + found.remainder
    assert whole == pytest.approx(found.value)
    assert min(found.reliability, found.resolution) >= 0


def test_at_even_classes_every_real_counts_as_often_as_reals_are_rarer() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], [20, 80])
    score = np.round(rng.random(100), 1)
    again = np.concatenate([np.repeat(np.flatnonzero(label == 0), 4), np.flatnonzero(label == 1)])
    even, plain = brier(label, score, even=True), brier(label[again], score[again])
    assert even.value == pytest.approx(plain.value)
    assert even.resolution == pytest.approx(plain.resolution)


def test_one_class_has_no_skill() -> None:
    assert brier(np.zeros(3), np.array([0.1, 0.2, 0.3])).skill is None
    assert brier(np.ones(2), np.array([0.5, 0.5]), even=True).value == 0.25
