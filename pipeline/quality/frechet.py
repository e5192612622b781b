"""How far two sets of features are apart as distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Below two rows a dimension the covariances say more of the sample than of the set.
ROWS_A_DIMENSION = 2
KERNEL_LEAST, SUBSET, SUBSETS = 100, 1000, 10


def frechet_distance(one: Floats, two: Floats) -> float:
    """Squared Frechet distance of the two normal distributions with the means and covariances of
    features (n, D) and (m, D).

    Source: Dowson and Landau 1982, equation 4; as a measure of pictures Heusel et al. 2017 (FID,
    which is this with the features of Inception).
    """
    return distance_of_normals(
        *(moment for rows in (one, two) for moment in (rows.mean(axis=0), np.cov(rows.T)))
    )


def distance_of_normals(mean_1: Floats, cov_1: Floats, mean_2: Floats, cov_2: Floats) -> float:
    """|m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)).

    The last term by eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), which are those of S1 S2 and
    stay real where S1 is singular.
    """
    cov_1, cov_2 = np.atleast_2d(cov_1), np.atleast_2d(cov_2)
    values, vectors = np.linalg.eigh(cov_1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ cov_2 @ root).clip(0)
    gap = float(((mean_1 - mean_2) ** 2).sum())
    return max(0.0, gap + float(np.trace(cov_1) + np.trace(cov_2) - 2 * np.sqrt(shared).sum()))


def kernel_distance(one: Floats, two: Floats, seed: int = 0) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased, mean over drawn
    subsets of at most 1,000 rows; below 0 by chance where the sets are alike.

    Source: Binkowski et al. 2018 (KID).
    """
    rng = np.random.default_rng(seed)
    size = min(len(one), len(two), SUBSET)
    subsets = SUBSETS if size < max(len(one), len(two)) else 1
    found = []
    for _ in range(subsets):
        first = one[rng.choice(len(one), size, replace=False)]
        second = two[rng.choice(len(two), size, replace=False)]
        inner = sum(_off_diagonal(_kernel(rows, rows)) for rows in (first, second))
        found.append(inner / (size * (size - 1)) - 2 * _kernel(first, second).mean())
    return float(np.mean(found))


def _kernel(one: Floats, two: Floats) -> Floats:
    return (one @ two.T / one.shape[1] + 1) ** 3


def _off_diagonal(kernel: Floats) -> float:
    return float(kernel.sum() - np.trace(kernel))
