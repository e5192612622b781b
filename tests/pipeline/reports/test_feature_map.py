"""Features of many dimensions as a picture of two."""

from __future__ import annotations

import numpy as np

from unmask.pipeline.reports.feature_map import embed


def test_the_picture_of_features_keeps_two_clear_groups_apart() -> None:
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(40, 8)).astype(np.float32)
    feature[20:] += 30
    place = embed(feature)
    centre = place[:20].mean(0), place[20:].mean(0)
    spread = max(
        np.linalg.norm(place[:20] - centre[0], axis=1).max(),
        np.linalg.norm(place[20:] - centre[1], axis=1).max(),
    )
    assert np.linalg.norm(centre[0] - centre[1]) > spread
