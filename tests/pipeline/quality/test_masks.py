"""Masks of data sets that publish none."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.quality.masks import difference_mask, face_mask

LANDMARK = np.array([[100, 200], [140, 200], [120, 225], [105, 250], [135, 250]], np.float32)


def test_a_difference_above_the_noise_is_the_mask() -> None:
    rng = np.random.default_rng(0)
    original = rng.integers(60, 120, (80, 80, 3), dtype=np.uint8)
    fake = original + rng.integers(0, 10, original.shape, dtype=np.uint8)  # compression
    assert difference_mask(original, fake) is None
    fake[20:60, 20:60, 1] += 20
    mask = difference_mask(original, fake)
    assert mask[22:58, 22:58].all() and not mask[:16].any() and not mask[:, 64:].any()
    assert mask.sum() == pytest.approx(1600, rel=0.05)


def test_a_difference_nearly_everywhere_is_no_mask() -> None:
    original = np.zeros((80, 80, 3), np.uint8)
    assert difference_mask(original, original + 30) is None
    assert difference_mask(original, original) is None


def test_the_face_is_an_ellipse_through_eyes_and_mouth() -> None:
    """Half-axes of 1.1 and 1.5 distances of the eyes, whatever the transform to the crop."""
    shrink = np.array([[0.5, 0, -20], [0, 0.5, -60]], np.float32)
    mask = face_mask(LANDMARK, shrink, 120)
    rows, columns = np.nonzero(mask)
    distance = 40 * 0.5
    assert mask.sum() == pytest.approx(np.pi * 1.1 * 1.5 * distance**2, rel=0.02)
    assert (rows.mean(), columns.mean()) == pytest.approx((225 * 0.5 - 60, 120 * 0.5 - 20), abs=0.1)
    assert np.ptp(rows) == pytest.approx(3 * distance, abs=2)
    assert np.ptp(columns) == pytest.approx(2.2 * distance, abs=2)


def test_a_tilted_face_has_a_tilted_ellipse() -> None:
    turn = np.array([[0, -1, 300], [1, 0, -50]], np.float32)  # a quarter turn
    rows, columns = np.nonzero(face_mask(LANDMARK, turn, 200))
    assert np.ptp(columns) == pytest.approx(3 * 40, abs=2) and np.ptp(rows) == pytest.approx(
        88, abs=2
    )
    assert face_mask(np.zeros((5, 2)), np.eye(2, 3), 40).any()  # all points in one: still a mask
