"""TALL's changes of training clips: boxes of the released code, one hole for all frames."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from unmask.models.spec import NORMS
from unmask.pipeline.clips.augment import build_augment
from unmask.pipeline.clips.prepare import normalise
from unmask.pipeline.clips.tall_changes import cut_out, multi_scale_box


def test_boxes_are_the_released_sides_and_places() -> None:
    rng = np.random.default_rng(0)
    boxes = Counter(multi_scale_box(240, 112, rng) for _ in range(20_000))
    sides = [240, 210, 180, 158]  # 1, .875, .75, .66 of 240
    places: dict[tuple[int, int], set] = {}
    for y, x, height, width in boxes:
        assert abs(sides.index(height) - sides.index(width)) <= 1
        assert 0 <= y <= 240 - height and 0 <= x <= 240 - width
        places.setdefault((height, width), set()).add((y, x))
    assert len(places) == 10  # four squares, and three pairs of neighbours twice
    step = (240 - 180) // 4
    assert places[180, 180] == {
        (y * step, x * step) for grid in ((0, 2, 4), (1, 3)) for y in grid for x in grid
    }
    assert places[240, 240] == {(0, 0)}
    whole = sum(count for (_, _, h, w), count in boxes.items() if (h, w) == (240, 240))
    assert abs(whole / 20_000 - 0.1) < 0.01


def test_a_side_near_the_models_is_the_models() -> None:
    rng = np.random.default_rng(0)
    heights = {multi_scale_box(170, 112, rng)[2] for _ in range(200)}
    assert heights == {170, 148, 127, 112}  # int(170 * .66) = 112
    heights = {multi_scale_box(168, 112, rng)[2] for _ in range(200)}
    assert 112 in heights and 110 not in heights


def test_the_hole_is_one_square_at_the_same_place_in_every_frame() -> None:
    clip = torch.full((8, 3, 112, 112), 255, dtype=torch.uint8)
    sizes = set()
    for seed in range(40):
        holed, _ = cut_out(clip, None, np.random.default_rng(seed), 112)
        hole = (holed != clip).all(1)  # (8, 112, 112)
        assert (hole == hole[0]).all() and clip.min() == 255
        rows, columns = hole[0].any(1).nonzero(), hole[0].any(0).nonzero()
        assert hole[0].sum() == len(rows) * len(columns)
        assert (len(rows) <= 16) and (len(columns) <= 16) and len(rows) >= 8
        sizes.add((len(rows), len(columns)))
        values = normalise(holed[None].float() / 255, "imagenet")[0]
        inside = values.permute(1, 0, 2, 3)[:, hole]
        # zero after normalisation, but for the rounding to grey levels
        assert inside.abs().max() <= max(0.5 / 255 / std for std in NORMS["imagenet"][1])
    assert (16, 16) in sizes and len(sizes) > 1  # at the border it is cut


def test_all_of_a_samples_frames_are_cropped_flipped_and_holed_alike() -> None:
    change = build_augment(("tall",), 112)
    assert change is not None
    frame = torch.randint(0, 256, (1, 3, 240, 240), dtype=torch.uint8)
    clip, masks = frame.expand(6, -1, -1, -1), torch.zeros(6, 1, 240, 240, dtype=torch.uint8)
    changed, small = change(clip, masks, np.random.default_rng(3))
    assert changed.shape == (6, 3, 112, 112) and small is not None and small.shape[-1] == 112
    assert (changed == changed[0]).all()
