"""Holm's adjusted p-values, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.scores.holm import holm


def test_the_worked_family_of_five() -> None:
    given = [0.020, 0.001, 0.200, 0.010, 0.040]
    assert holm(given) == pytest.approx([0.060, 0.005, 0.200, 0.040, 0.080])


def test_none_stays_none_and_is_not_of_the_family() -> None:
    assert holm([None, 0.03, 0.04]) == [None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([]) == [] and holm([None]) == [None]
    assert holm([0.9, 0.8]) == [1.0, 1.0], "never above one"


def test_a_single_false_difference_is_as_rare_as_promised() -> None:
    rng = np.random.default_rng(0)
    wrong = [min(holm(rng.random(8).tolist())) < 0.05 for _ in range(4000)]
    assert np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
