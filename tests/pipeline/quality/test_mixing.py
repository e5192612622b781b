"""Numbers of a feature space: one half where real and fake lie mixed, one where they lie apart."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.quality.mixing import nearest_neighbours, separability, silhouette

PAIRS = 30
LABEL = np.array([0, 1] * PAIRS)
GROUP = np.repeat([f"g{n}" for n in range(PAIRS)], 2)


def features(gap: float, seed: int = 0) -> np.ndarray:
    """Pairs of near-equal features, the fakes' moved by a gap."""
    rng = np.random.default_rng(seed)
    found = np.repeat(rng.normal(size=(PAIRS, 12)), 2, axis=0) + 3
    found[LABEL == 1, 0] += gap
    return found


def test_copies_of_the_originals_are_exactly_one_half() -> None:
    found = nearest_neighbours(features(0), LABEL, GROUP)
    assert found.value == 0.5 and found.low == found.high == 0.5
    assert separability(features(0), LABEL, GROUP).value == pytest.approx(0.5)
    assert silhouette(features(0), LABEL).value == pytest.approx(0, abs=0.05)


def test_classes_far_apart_are_told_apart() -> None:
    far = features(30)
    assert nearest_neighbours(far, LABEL, GROUP).value == 1.0
    assert separability(far, LABEL, GROUP).value == 1.0
    assert silhouette(far, LABEL).value > 0.5


def test_the_interval_holds_the_value_of_what_lies_between() -> None:
    found = nearest_neighbours(features(1.5), LABEL, GROUP)
    assert 0.5 < found.low < found.value < found.high < 1


def test_an_own_twin_is_no_neighbour() -> None:
    """Every feature's nearest is its pair of the other label; only other groups may vote."""
    rng = np.random.default_rng(1)
    near = np.zeros((2 * PAIRS, PAIRS + 1))
    near[np.arange(2 * PAIRS), np.arange(2 * PAIRS) // 2] = 9.0  # a pair's own direction
    near[:, -1] = np.where(LABEL == 1, 1.0, -1.0)
    near += rng.normal(0, 1e-3, near.shape)
    unlike = near @ near.T - 1e9 * np.eye(len(near))
    assert (LABEL[unlike.argmax(axis=1)] != LABEL).all()
    assert nearest_neighbours(near, LABEL, GROUP).value == 1.0


def test_too_few_say_so() -> None:
    few = slice(0, 4)
    found = nearest_neighbours(features(1)[few], LABEL[few], GROUP[few])
    assert found.value is None and "fewer than five" in found.note
    assert "leakage groups" in separability(features(1)[few], LABEL[few], GROUP[few]).note
    assert silhouette(features(1)[:2], LABEL[:2]).value is None
