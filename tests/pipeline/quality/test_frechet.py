"""Distances of distributions against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from unmask.pipeline.quality.frechet import distance_of_normals, frechet_distance, kernel_distance


def drawn_covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return root @ root.T / size


def test_normals_of_equal_axes_have_the_closed_form() -> None:
    """Of diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(0)
    means, spreads = rng.normal(size=(2, 6)), rng.uniform(0.5, 3, (2, 6))
    known = ((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum()
    found = distance_of_normals(
        means[0], np.diag(spreads[0] ** 2), means[1], np.diag(spreads[1] ** 2)
    )
    assert found == pytest.approx(known, rel=1e-12)


def test_one_dimension_is_the_textbook_formula() -> None:
    assert distance_of_normals(np.array([1.0]), np.array(4.0), np.array([3.0]), np.array(9.0)) == (
        pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2)
    )


def test_any_covariances_agree_with_a_matrix_square_root() -> None:
    rng = np.random.default_rng(1)
    one, two = drawn_covariance(rng, 5), drawn_covariance(rng, 5)
    zero = np.zeros(5)
    known = np.trace(one + two - 2 * np.real(sqrtm(one @ two)))
    assert distance_of_normals(zero, one, zero, two) == pytest.approx(known, rel=1e-9)


def test_it_is_nothing_for_equal_sets_and_symmetric_and_takes_singular_ones() -> None:
    rng = np.random.default_rng(2)
    flat = rng.normal(size=(50, 4)) @ np.diag([1, 2, 0, 0])  # rank two
    other = rng.normal(1, 2, (60, 4))
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(flat, other) == pytest.approx(frechet_distance(other, flat), rel=1e-6)


def test_samples_of_two_normals_come_near_the_closed_form() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.normal(0, 1, (20_000, 3)), rng.normal(2, 3, (20_000, 3))
    assert frechet_distance(one, two) == pytest.approx(3 * (4 + 4), rel=0.03)


def test_the_kernel_distance_is_the_unbiased_sum_over_pairs() -> None:
    rng = np.random.default_rng(4)
    one, two = rng.normal(size=(7, 3)), rng.normal(0.5, 1, (7, 3))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    inner = [
        np.mean([kernel(a, b) for a in s for b in s if a is not b]) for s in (list(one), list(two))
    ]
    known = sum(inner) - 2 * np.mean([kernel(a, b) for a in one for b in two])
    assert kernel_distance(one, two) == pytest.approx(known)


def test_the_kernel_distance_of_alike_sets_is_near_zero_and_grows_with_the_gap() -> None:
    rng = np.random.default_rng(5)
    sets = [rng.normal(shift, 1, (400, 8)) for shift in (0, 0, 0.3, 1)]
    near, some, far = (kernel_distance(sets[0], other) for other in sets[1:])
    assert abs(near) < 0.1 < some < far
