"""What today's swaps do to a pasted face: asked for by name, in half of the clips, and nothing else
changes by it.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.pipeline.clips.test_face_hull import BOX, POINTS
from tests.pipeline.clips.test_face_motion import texture
from unmask.models.recipes.blends import BlendSpec
from unmask.models.recipes.recipes import parse_overrides
from unmask.pipeline.clips.copied_face import (
    COPY_STEPS,
    CopyDraw,
    draw_copy,
    match_colours,
    recolour,
)
from unmask.pipeline.clips.self_blend import draw_blend, real_half, self_blend

STILL = BlendSpec(follow="none", temporal=0)
ALL = replace(STILL, copy=COPY_STEPS)
PICTURE = texture(7, 240)[None]


def drawn(steps, seed=0):
    return replace(draw_copy(np.random.default_rng(seed), ALL), steps=steps)


def plain_colour(seed=0):
    return draw_blend(np.random.default_rng(seed), 1, 240, STILL).colour


def test_each_step_is_taken_in_half_of_the_clips_and_only_when_it_is_named():
    steps = [draw_copy(np.random.default_rng(seed), ALL).steps for seed in range(2000)]
    for name in COPY_STEPS:
        assert np.mean([name in some for some in steps]) == pytest.approx(0.5, abs=0.04)
    both = np.mean(["matched" in some and "smoothed" in some for some in steps])
    assert both == pytest.approx(0.25, abs=0.04)
    some = replace(STILL, copy=("smoothed",))
    kept = [draw_copy(np.random.default_rng(seed), some).steps for seed in range(2000)]
    assert kept == [tuple(name for name in taken if name == "smoothed") for taken in steps]


def test_no_other_number_moves_by_what_is_named():
    for seed in range(20):
        plain, swap = (draw_blend(np.random.default_rng(seed), 1, 240, s) for s in (STILL, ALL))
        assert plain.colour == swap.colour and plain.ratio == swap.ratio
        assert np.array_equal(plain.noise, swap.noise) and plain.hull.kind == swap.hull.kind


def test_a_user_types_them():
    assert parse_overrides(["blend.copy=matched,resampled"]) == {
        "blend.copy": ("matched", "resampled")
    }


def test_matched_colours_have_the_targets_mean_and_spread_where_half_is_pasted():
    rng = np.random.default_rng(0)
    target = np.clip(rng.normal((90, 120, 150), (20, 15, 25), (64, 64, 3)), 0, 255).astype(np.uint8)
    copy = np.clip(rng.normal((140, 110, 120), (12, 22, 30), (64, 64, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[8:56, 8:56], mask[20:40, 20:40] = 100, 255
    found = match_colours(copy, target, mask)[mask > 127].astype(float)
    wanted = target[mask > 127].astype(float)
    assert np.abs(found.mean(0) - wanted.mean(0)).max() < 0.6
    assert np.abs(found.std(0) - wanted.std(0)).max() < 0.6


def test_matching_stretches_no_grey_patch_and_leaves_equals_and_empty_masks_alone():
    flat = np.full((32, 32, 3), 100, np.uint8)
    noisy = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    whole, none = np.full((32, 32), 255, np.uint8), np.zeros((32, 32), np.uint8)
    almost = flat.copy()
    almost[::2] += 1
    spread = match_colours(almost, noisy, whole).astype(float).std((0, 1)).max()
    assert spread <= 1.1  # twice the half level that it was
    assert np.array_equal(match_colours(noisy, noisy, whole), noisy)
    assert np.array_equal(match_colours(noisy, flat, none), noisy)


def test_resampling_stands_for_the_papers_loss_of_detail_and_keeps_the_colours():
    colour, picture = plain_colour(), texture(7, 240, smooth=1)[None]
    seen = []
    for seed in range(12):
        copy = drawn(("resampled",), seed)
        found = recolour(picture, colour, "wide", copy)[0]
        lit = recolour(picture, replace(colour, halve=0, sharp=(0.0, 0.0)), "wide")[0]
        seen.append(fine(found) / fine(lit))
        assert np.abs(found.astype(float).mean() - lit.astype(float).mean()) < 1.5
        assert copy.kernels == drawn(("resampled",), seed).kernels
    # sharpening kernels gain a little where the sizes are large; small sizes lose most of it
    assert max(seen) < 1.15 and min(seen) < 0.6 and np.median(seen) < 0.9


def fine(picture):
    """Spread of what a blur of 2 px takes away."""
    values = picture.astype(np.float32)
    return float((values - cv2.GaussianBlur(values, (0, 0), 2)).std())


def test_smoothing_takes_grain_away_and_leaves_edges():
    edge = np.full((1, 240, 240, 3), 60, np.uint8)
    edge[:, :, 120:] = 190
    grain = np.random.default_rng(0).normal(0, 4, edge.shape)
    noisy = np.clip(edge + grain, 0, 255).astype(np.uint8)
    level = replace(plain_colour(), shift=(0, 0, 0), hsv=(0, 1, 1), factor=1.0, light=0.0)
    colour = replace(level, halve=0, sharp=(0.0, 0.0))
    before = recolour(noisy, colour, "wide")[0].astype(float)
    after = recolour(noisy, colour, "wide", drawn(("smoothed",)))[0].astype(float)
    assert after[:, 20:100].std() < 0.5 * before[:, 20:100].std()
    steps = after[:, 116:124].mean((0, 2))
    assert steps[0] < 70 and steps[-1] > 180 and np.diff(steps).max() > 90


def test_the_real_half_and_the_outside_are_what_they_are_in_every_pair():
    clip = PICTURE.transpose(0, 3, 1, 2)
    changed = 0
    for seed in range(30):
        real, fake, mask = self_blend(clip, BOX, POINTS, np.random.default_rng(seed), ALL)
        outside = np.broadcast_to(mask == 0, real.shape)
        assert np.array_equal(real[outside], fake[outside])
        alone = real_half(PICTURE, np.random.default_rng(seed), ALL)
        assert np.array_equal(real, alone.transpose(0, 3, 1, 2))
        plain = self_blend(clip, BOX, POINTS, np.random.default_rng(seed), STILL)
        changed += not np.array_equal(fake, plain[1])
    assert changed > 15


@pytest.mark.parametrize("side", [64, 240])
def test_a_copy_that_nothing_changes_stays_the_input(side):
    bare = replace(ALL, colour=False, affine=False, elastic=False)
    picture = texture(3, side)[None].transpose(0, 3, 1, 2)
    for seed in range(10):
        real, fake, _ = self_blend(picture, None, None, np.random.default_rng(seed), bare)
        assert np.array_equal(real, picture) and np.array_equal(fake, picture)


def test_a_draw_says_what_it_is():
    copy = draw_copy(np.random.default_rng(1), ALL)
    assert isinstance(copy, CopyDraw) and len(copy.sizes) == 2 and len(copy.kernels) == 3
    assert all(0.35 <= share <= 1.1 for share in copy.sizes) and 15 <= copy.levels <= 45
