"""Augmentations: what they promise about pixels, one draw per clip, and nothing but the sample's
own numbers.
"""

import cv2
import numpy as np
import pytest
import torch

from unmask.models.recipes.published import RECIPES
from unmask.pipeline.clips.augment import (
    AUGMENTS,
    brightness,
    build_augment,
    channel_shift,
    clahe,
    colour,
    deepfakebench,
    flip,
    hsv_to_rgb,
    hue_and_saturation,
    jitter,
    reverse_time,
    rgb_to_hsv,
    sharpen,
    shift_hsv,
    warp,
)
from unmask.pipeline.clips.h264 import h264
from unmask.pipeline.errors import UsageError

GENERATOR = torch.Generator().manual_seed(1)
CLIP = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=GENERATOR)


def numbers(seed=0):
    return np.random.default_rng(seed)


def test_every_name_of_every_recipe_exists():
    named = {
        name
        for recipes in RECIPES.values()
        for recipe in recipes.values()
        for name in recipe.augment
    }
    assert named <= set(AUGMENTS)


def test_no_warp_is_no_change_and_a_quarter_turn_is_exact():
    assert torch.equal(warp(CLIP, 0, (1, 1)), CLIP)
    assert torch.equal(warp(CLIP, 90, (1, 1)), torch.rot90(CLIP, 1, (-2, -1)))


def test_zooming_out_shows_more_and_the_border_goes_on():
    dot = torch.full((1, 1, 40, 40), 90, dtype=torch.uint8)
    dot[..., 10:30, 10:30] = 200
    small = warp(dot, 0, (2, 2))
    assert (small == 200).sum() == pytest.approx(100, abs=25)
    assert small[0, 0, 0, 0] == 90 and small.min() == 90


def test_channel_shift_stays_in_the_range_each_picture_had():
    clip = torch.randint(30, 201, (2, 3, 16, 16), dtype=torch.uint8, generator=GENERATOR)
    expected = torch.minimum(clip.float() + 20, clip.float().amax((1, 2, 3), keepdim=True))
    assert torch.equal(channel_shift(clip, 20).float(), expected)
    assert channel_shift(clip, -500).float().amax() == clip.float().amin((1, 2, 3)).max()


def test_brightness_multiplies():
    assert torch.equal(brightness(CLIP, 0.5), (CLIP.float() * 0.5).round().to(torch.uint8))


def test_flip_and_reversal_take_the_masks_along():
    masks = CLIP[:, :1]
    done = set()
    for seed in range(20):
        clip, mask = flip(CLIP, masks, numbers(seed), 48)
        assert torch.equal(mask, clip[:, :1])
        clip, mask = reverse_time(clip, mask, numbers(seed), 48)
        assert torch.equal(mask, clip[:, :1])
        done.add((clip == CLIP).all().item())
    assert done == {True, False}


@pytest.mark.parametrize(
    "name", [name for name in AUGMENTS if name not in ("none", "noise", "m2tr", "h264", "reverse")]
)
def test_all_frames_of_a_clip_get_the_same_draw(name):
    still = CLIP[:1].expand(3, -1, -1, -1)
    augment = build_augment([name], 32)
    for seed in range(8):
        clip, _ = augment(still, None, numbers(seed))
        assert torch.equal(clip[0], clip[1]) and torch.equal(clip[0], clip[2])


@pytest.mark.parametrize("name", [name for name in AUGMENTS if name != "none"])
def test_a_draw_depends_on_the_samples_numbers_alone(name):
    augment = build_augment([name], 32)
    results = []
    for seed in range(6):
        torch.manual_seed(seed)
        np.random.seed(seed)
        results.append([augment(CLIP, CLIP[:, :1], numbers(part)) for part in range(6)])
        assert all(
            clip.dtype == torch.uint8 and clip.shape[:2] == (3, 3) for clip, _ in results[-1]
        )
    for part in range(6):
        assert all(torch.equal(results[0][part][0], other[part][0]) for other in results)
        assert all(torch.equal(results[0][part][1], other[part][1]) for other in results)
    assert len({clip.numpy().tobytes() for clip, _ in results[0]}) > 1


@pytest.mark.parametrize("name", ["stil", "m2tr"])
def test_random_crops_arrive_in_the_models_size_with_their_masks(name):
    masks = torch.zeros(3, 1, 48, 48, dtype=torch.uint8)
    masks[..., :24] = 255
    clip, mask = build_augment([name], 32)(CLIP, masks, numbers())
    assert clip.shape == (3, 3, 32, 32) and mask.shape == (3, 1, 32, 32)
    assert set(mask.unique().tolist()) == {0, 255}


def test_clahe_without_limit_on_one_tile_is_histogram_equalisation():
    grey = torch.randint(90, 130, (1, 1, 32, 32), dtype=torch.uint8, generator=GENERATOR).expand(
        1, 3, 32, 32
    )
    got = clahe(grey, limit=1e9, tiles=1)[0, 0]
    values = grey[0, 0].numpy()
    share = np.searchsorted(np.sort(values.ravel()), values, side="right") / values.size
    np.testing.assert_allclose(got.numpy(), share * 255, atol=1)


def test_h264_damages_more_the_higher_the_crf_keeps_odd_sizes_and_repeats_itself():
    smooth = np.kron(numbers().integers(0, 256, (3, 6, 6, 3)), np.ones((1, 9, 9, 1))).astype(
        np.uint8
    )[:, :53, :51]
    wrong = [np.abs(h264(smooth, crf).astype(int) - smooth).mean() for crf in (5, 30, 51)]
    assert wrong[0] < wrong[1] < wrong[2]
    assert h264(smooth, 30).shape == smooth.shape
    np.testing.assert_array_equal(h264(smooth, 30), h264(smooth, 30))
    with pytest.raises(UsageError):
        h264(smooth, 52)


def test_no_names_mean_no_augmentation_and_unknown_names_are_refused():
    assert build_augment([], 32) is None and build_augment(["none"], 32) is None
    with pytest.raises(UsageError, match="no augmentation 'flipp'"):
        build_augment(["flipp"], 32)


def opencv(clip, change):
    """The change done by OpenCV, frame by frame on (S,S,3) bytes."""
    frames = [change(np.ascontiguousarray(frame)) for frame in clip.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def test_hue_saturation_and_value_there_and_back_and_as_opencv_has_them():
    assert torch.equal(hsv_to_rgb(rgb_to_hsv(CLIP)), CLIP)
    theirs = opencv(CLIP, lambda frame: cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)).float()
    ours = rgb_to_hsv(CLIP) * torch.tensor([180.0, 255, 255]).view(3, 1, 1)
    apart = (ours - theirs).abs()
    apart[:, 0] = torch.minimum(apart[:, 0], 180 - apart[:, 0])
    assert apart.amax() <= 0.6  # OpenCV rounds to bytes, by tables


def test_a_third_of_the_circle_swaps_the_channels_and_values_stay_bytes():
    assert torch.equal(shift_hsv(CLIP, 60, 0, 0), CLIP[:, [2, 0, 1]])
    grey = CLIP[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(shift_hsv(grey, 0, -255, 20), (grey.int() + 20).clamp(max=255).byte())


def test_sharpening_is_the_mixture_with_its_kernel():
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = 8.7
    mixed = 0.7 * np.eye(3)[1][:, None] * np.eye(3)[1] + 0.3 * kernel
    theirs = opencv(CLIP, lambda f: cv2.filter2D(f, -1, mixed, borderType=cv2.BORDER_REPLICATE))
    assert (sharpen(CLIP, 0.3, 0.7).int() - theirs.int()).abs().amax() <= 1


def test_hue_saturation_and_value_are_shifted_as_far_as_released():
    """By 20, 30 and 20 at most, in the units of OpenCV's bytes, either way."""
    one = torch.tensor([150, 100, 70], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    units = torch.tensor([180.0, 255.0, 255.0])
    before = rgb_to_hsv(one)[0, :, 0, 0]
    moved = torch.stack(
        [rgb_to_hsv(hue_and_saturation(one, numbers(n)))[0, :, 0, 0] - before for n in range(200)]
    )
    moved[:, 0] = (moved[:, 0] + 0.5) % 1 - 0.5
    for part, most in zip((moved * units).T, (20, 30, 20), strict=True):
        assert 0.85 * most < part.max() < most + 1.5 and -most - 1.5 < part.min() < -0.85 * most


def test_jitter_turns_the_hue_by_a_fifth_of_the_circle_either_way():
    """On a picture of one colour the hue can be read off again."""
    one = torch.tensor([150, 100, 70], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    hue = rgb_to_hsv(one)[0, 0, 0, 0].item()
    turned = []
    for seed in range(200):
        now = rgb_to_hsv(jitter(one, numbers(seed)))[0, 0, 0, 0].item()
        turned.append((now - hue + 0.5) % 1 - 0.5)
    assert max(turned) > 0.17 and min(turned) < -0.17 and max(map(abs, turned)) < 0.23


@pytest.mark.parametrize("change", [colour, deepfakebench])
def test_changes_of_colour_leave_bytes_of_the_same_shape(change):
    seen = [change(CLIP, CLIP[:, :1], numbers(seed), 48)[0] for seed in range(40)]
    assert all(clip.dtype == torch.uint8 and clip.shape == CLIP.shape for clip in seen)
    assert len({clip.numpy().tobytes() for clip in seen}) >= 30
