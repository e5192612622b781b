"""A picture of what a network makes of its clips: features of many dimensions in two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def embed(feature: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """t-SNE picture (R, 2) of features (R, D); R must be at least 5.

    Distances between groups mean nothing. Source: van der Maaten and Hinton, JMLR 9, 2008.
    """
    from sklearn.manifold import TSNE  # late: half a second that most runs do not need

    perplexity = min(30.0, (len(feature) - 1) / 3)
    return TSNE(
        perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed
    ).fit_transform(feature)
