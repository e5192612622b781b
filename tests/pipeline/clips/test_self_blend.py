"""Self-blended clips: the fake is the real one outside the mask and the blend equation inside it,
and every change is drawn as often as it is said to be.
"""

import colorsys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.pipeline.clips.test_face_hull import BOX, POINTS
from tests.pipeline.clips.test_face_motion import shifted, texture
from unmask.models.recipes.blends import BlendSpec
from unmask.pipeline.clips.copied_face import Colour, recolour
from unmask.pipeline.clips.self_blend import (
    COARSE,
    compose,
    draw_blend,
    elastic_field,
    halves,
    real_half,
    self_blend,
)

STILL = BlendSpec(follow="none", temporal=0)
BARE = replace(STILL, colour=False, affine=False, elastic=False)
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
SHIFTS = [(0, 0), (-2, 3), (0, 0), (4, -4), (1, 1)]


def clip_of(frames):
    return frames.transpose(0, 3, 1, 2)


MOVING = clip_of(shifted(texture(7, 280), 240, SHIFTS))
SAME = np.repeat(MOVING[:1], 5, 0)


def blend(clip, seed=0, spec=STILL, box=BOX, points=POINTS, parts=None):
    return self_blend(clip, box, points, np.random.default_rng(seed), spec, parts)


@pytest.mark.parametrize("follow", ["none", "shift", "points"])
def test_a_copy_that_is_not_changed_gives_the_input_byte_for_byte(follow):
    for seed in range(40):
        spec = replace(BARE, follow=follow)
        real, fake, mask = blend(SAME, seed, spec)
        assert np.array_equal(real, SAME) and np.array_equal(fake, SAME) and mask.any()


def test_the_fake_is_the_real_half_wherever_the_mask_is_zero():
    seen = 0
    for seed in range(60):
        real, fake, mask = blend(MOVING, seed, BlendSpec(temporal=1))
        assert real.shape == fake.shape == MOVING.shape and mask.shape == (5, 1, 240, 240)
        assert not (real != fake)[np.broadcast_to(mask == 0, real.shape)].any()
        rim = mask.copy()
        rim[..., 4:-4, 4:-4] = 0
        assert not rim.any()
        assert 0.05 < (mask > 127).mean() < 0.40
        seen += (real != fake).any()
    assert seen == 60


def test_the_equation_of_blending_holds_to_half_a_level():
    mask = np.random.default_rng(1).integers(0, 256, (240, 240)).astype(np.uint8)
    source, target = (np.full((240, 240, 3), level, np.uint8) for level in (100, 50))
    for ratio in (0.25, 0.5, 0.75, 1.0):
        fake = compose(target, source, IDENTITY, mask, ratio).astype(float)
        assert np.abs(fake - (50 + 50 * ratio * mask[..., None] / 255)).max() <= 0.5 + 1e-3


def test_inside_a_hard_mask_is_exactly_the_moved_source():
    source, target = texture(8, 240), texture(9, 240)
    mask = np.zeros((240, 240), np.uint8)
    mask[50:190, 60:180] = 255
    matrix = np.array([[1.03, 0, -4.4], [0, 0.97, 3.2]])
    moved = cv2.warpAffine(source, matrix, (240, 240), borderMode=cv2.BORDER_REPLICATE)
    fake = compose(target, source, matrix, mask, 1.0)
    inside = mask == 255
    # The part under the mask is moved alone; OpenCV counts in 32nds of a pixel from its corner.
    assert np.abs(fake[inside].astype(int) - moved[inside]).max() <= 4
    whole = np.array([[1.0, 0, 3], [0, 1, -5]])
    expected = np.roll(source, (-5, 3), (0, 1))
    assert np.array_equal(compose(target, source, whole, mask, 1.0)[inside], expected[inside])
    assert np.array_equal(fake[~inside], target[~inside])


def test_equal_halves_stay_equal_under_any_mask():
    picture = np.random.default_rng(2).integers(0, 256, (240, 240, 3)).astype(np.uint8)
    mask = np.random.default_rng(3).integers(0, 256, (240, 240)).astype(np.uint8)
    for ratio in np.linspace(0.2, 1, 33):
        assert np.array_equal(compose(picture, picture, IDENTITY, mask, float(ratio)), picture)


def test_a_clip_is_drawn_once_and_flickers_only_where_it_shall():
    steady = changed = 0
    for seed in range(30):
        _, fake, mask = blend(SAME, seed)
        steady += (fake == fake[:1]).all() and (mask == mask[:1]).all()
        _, flickering, moved = blend(SAME, seed, replace(STILL, temporal=1))
        # the middle of the mask may wander by AR(1) steps of at most 1.5 px
        centre = [np.argwhere(one[0] > 127).mean(0) for one in moved]
        assert np.ptp(centre, axis=0).max() <= 3.1
        changed += (flickering != flickering[:1]).any() and np.ptp(centre, axis=0).max() > 0
        away = np.abs(flickering.astype(int) - fake).mean((1, 2, 3))
        assert away.max() < 8
    assert steady == changed == 30
    often = [draw_blend(np.random.default_rng(s), 5, 240, BlendSpec()) for s in range(600)]
    assert np.mean([d.jitter.any() for d in often]) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("follow", ["shift", "points"])
def test_the_mask_moves_with_the_face(follow):
    for seed in range(10):
        _, _, mask = blend(MOVING, seed, replace(STILL, follow=follow))
        centre = np.array([np.argwhere(one[0] > 127).mean(0)[::-1] for one in mask])
        np.testing.assert_allclose(centre - centre[2], SHIFTS, atol=1)
    grey = np.full_like(MOVING, 128)
    _, _, mask = blend(grey, 0, replace(STILL, follow=follow))
    assert (mask == mask[:1]).all()


def test_the_real_half_is_the_clip_or_the_clip_after_its_colour_step():
    roles = set()
    for seed in range(30):
        real, _, _ = blend(MOVING, seed, BlendSpec(temporal=1))
        drawn = draw_blend(np.random.default_rng(seed), 5, 240, BlendSpec(temporal=1))
        frames = MOVING.transpose(0, 2, 3, 1)
        expected = frames if drawn.on_source else recolour(frames, drawn.colour, "wide")
        assert np.array_equal(real, clip_of(expected))
        alone = real_half(np.ascontiguousarray(frames), np.random.default_rng(seed), BlendSpec())
        assert np.array_equal(clip_of(alone), real)
        roles.add(drawn.on_source)
    assert roles == {True, False}


def test_switching_a_part_off_leaves_the_other_draws_as_they_are():
    full = draw_blend(np.random.default_rng(5), 5, 240, BlendSpec())
    for spec in (BARE, replace(STILL, hsv="code"), BlendSpec(temporal=1)):
        other = draw_blend(np.random.default_rng(5), 5, 240, spec)
        assert (other.on_source, other.ratio, other.soft) == (
            full.on_source,
            full.ratio,
            full.soft,
        )
        assert other.colour.light == full.colour.light and other.hull.cut == full.hull.cut
        np.testing.assert_array_equal(other.noise, full.noise)


def test_every_draw_is_in_its_range_and_as_often_as_said():
    drawn = [draw_blend(np.random.default_rng(s), 5, 240, BlendSpec()) for s in range(1500)]
    shift = np.array([d.shift for d in drawn])
    assert np.abs(shift[:, 0]).max() <= 8 and np.abs(shift[:, 1]).max() <= 5
    assert np.abs(shift).max(0) == pytest.approx((8, 5), rel=0.01)
    scale = np.array([d.scale for d in drawn])
    assert 0.95 <= scale.min() < 0.951 and 1.052 < scale.max() <= 1 / 0.95
    assert np.mean([d.ratio == 1 for d in drawn]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([any(d.colour.shift) for d in drawn]) == pytest.approx(0.3, abs=0.04)
    assert np.mean([d.colour.halve > 0 for d in drawn]) == pytest.approx(0.5, abs=0.04)
    assert {d.colour.halve for d in drawn} == {0, 2, 4}
    kernels = np.array([(d.soft.first, d.soft.second, d.soft.sigma) for d in drawn])
    assert kernels.min(0).tolist() == [5, 5, 5] and kernels.max(0).tolist() == [31, 31, 45]
    assert (kernels[:, :2] % 2 == 1).all()
    code = [
        draw_blend(np.random.default_rng(s), 5, 240, replace(STILL, hsv="code")) for s in range(50)
    ]
    assert {value for d in code for value in d.colour.hsv} == {-1, 0}


def test_the_elastic_field_spreads_as_that_of_whole_resolution_does():
    rng = np.random.default_rng(6)
    noise = rng.uniform(-1, 1, (40, 2, 240 // COARSE, 240 // COARSE)).astype(np.float32)
    y, x = np.mgrid[:240, :240]
    found = np.std([elastic_field(n, 240) - np.stack([x, y], -1) for n in noise])
    full = rng.uniform(-1, 1, (20, 240, 240)).astype(np.float32)
    expected = np.std([50 * cv2.GaussianBlur(n, (0, 0), 7) for n in full])
    assert found == pytest.approx(expected, rel=0.08) and expected == pytest.approx(1.2, abs=0.1)


PLAIN = Colour((0.0, 0.0, 0.0), (0.0, 1.0, 1.0), 1.0, 0.0, 0, (0.0, 0.75))


def test_the_colour_step_is_the_textbook_s():
    frames = np.random.default_rng(7).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    # float32 hue and back is not the identity of every byte, but never more than one level away
    assert np.abs(recolour(frames, PLAIN, "wide").astype(int) - frames).max() <= 1
    colour = replace(PLAIN, shift=(12.0, -7.0, 3.0), hsv=(-4.0, 1.08, 0.93), factor=1.1, light=-9.0)
    expected = []
    for pixel in np.clip(frames.reshape(-1, 3) + np.array(colour.shift), 0, 255) / 255:
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        expected.append(colorsys.hsv_to_rgb((h - 4 / 360) % 1, min(1, s * 1.08), v * 0.93))
    expected = np.clip(np.array(expected) * 255 * 1.1 - 9, 0, 255)
    found = recolour(frames, colour, "wide").reshape(-1, 3)
    assert np.abs(found - expected).max() <= 1


def test_the_colour_step_as_released_takes_a_level_or_nothing():
    frames = np.full((1, 8, 8, 3), (120, 90, 60), np.uint8)
    assert np.array_equal(recolour(frames, replace(PLAIN, hsv=(0, 0, 0)), "code"), frames)
    darker = recolour(frames, replace(PLAIN, hsv=(0, 0, -1)), "code").astype(int) - frames
    assert set(darker.ravel().tolist()) <= {-1, 0} and darker[..., 0].max() == -1


def test_less_detail_or_more():
    frames = np.random.default_rng(8).integers(60, 200, (1, 32, 32, 3)).astype(np.uint8)
    for halve in (2, 4):
        small = frames[0, ::halve, ::halve]
        expected = cv2.resize(small, (32, 32), interpolation=cv2.INTER_LINEAR)
        found = recolour(frames, replace(PLAIN, halve=halve), "wide")[0]
        assert np.abs(found.astype(int) - expected).max() <= 1
    flat = np.full((1, 32, 32, 3), 100, np.uint8)
    sharp = recolour(flat, replace(PLAIN, sharp=(0.4, 1.0)), "wide")
    # kernel sum: 1 - alpha + alpha * lightness
    assert np.abs(sharp.astype(int) - 100).max() <= 1
    sharp = recolour(flat, replace(PLAIN, sharp=(0.4, 0.5)), "wide")
    assert np.abs(sharp.astype(int) - 80).max() <= 1


def test_frames_of_several_clips_each_get_the_mask_of_their_own_face():
    aside = np.array([10, -8])
    boxes, points = np.stack([BOX, BOX + np.tile(aside, 2)]), np.stack([POINTS, POINTS + aside])
    parts = np.array([0, 1, 0, 1, 1])
    _, _, mask = blend(SAME, 3, STILL, boxes, points, parts)
    centre = np.array([np.argwhere(one[0] > 127).mean(0)[::-1] for one in mask])
    np.testing.assert_allclose(centre[parts == 1] - centre[0], [aside] * 3, atol=1)
    assert (mask[parts == 0] == mask[0]).all() and (mask[parts == 1] == mask[1]).all()
    # frames that no other frame of their clip is with have nothing to follow
    _, _, apart = blend(
        MOVING, 3, replace(STILL, follow="shift"), np.stack([BOX] * 5), None, np.arange(5)
    )
    assert (apart == apart[:1]).all()


@pytest.mark.parametrize("side, frames", [(240, 1), (64, 5), (64, 1), (224, 30), (96, 2)])
@pytest.mark.parametrize(
    "box, points",
    [(None, None), (np.full(4, np.nan), np.zeros((5, 2))), (BOX, POINTS + 1e6), (BOX * 50, None)],
)
def test_no_size_and_no_slip_of_the_detector_stops_a_training(side, frames, box, points):
    picture = texture(9, 240)[:side, :side]
    for clip in (np.stack([picture] * frames), np.zeros((frames, side, side, 3), np.uint8)):
        real, fake, mask = blend(clip_of(clip), 1, BlendSpec(temporal=1), box, points)
        assert real.shape == fake.shape == (frames, 3, side, side) and mask.max() == 255


def test_bytes_depend_on_the_seed_alone():
    def pair(seed):
        return [part.tobytes() for part in blend(MOVING, seed, BlendSpec(temporal=1))]

    once = [pair(seed) for seed in range(12)]
    threads = cv2.getNumThreads()
    try:
        for count in (1, 4):
            cv2.setNumThreads(count)
            with ThreadPoolExecutor(3) as pool:
                assert list(pool.map(pair, range(12))) == once
    finally:
        cv2.setNumThreads(threads)
    assert len({tuple(p) for p in once}) == 12


WHOLE = np.ones((240, 240), bool)
RING = WHOLE.copy()
RING[16:-16, 16:-16] = False
ON_GRID = np.zeros((240, 240), bool)
ON_GRID[:, 7::8] = True


def global_numbers(frame):
    """(30,): mean and spread of each channel, Laplacian energy and 8x8 blockiness; first of the
    16 px along the border, then of the whole picture.
    """
    edges = cv2.convertScaleAbs(cv2.Laplacian(frame, cv2.CV_16S))
    step = cv2.absdiff(frame, np.roll(frame, -1, 1))
    numbers = []
    for part in (RING, WHOLE):
        mask = part.astype(np.uint8)
        for picture in (frame, edges):
            numbers += [value[:3] for value in map(np.ravel, cv2.meanStdDev(picture, mask=mask))]
        on, off = (cv2.mean(step, (part & side).astype(np.uint8)) for side in (ON_GRID, ~ON_GRID))
        numbers.append(np.subtract(on, off)[:3])
    return np.concatenate(numbers)


def shortcut(pictures, pairs):
    """AUC that logistic regression reaches on unseen pairs with the ring's numbers, and with those
    of the whole picture.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, label, group = [], [], []
    for number in range(pairs):
        clip = clip_of(pictures(number)[None])
        real, fake, _ = blend(clip, number, BlendSpec(), None, None)
        rows += [global_numbers(half[0].transpose(1, 2, 0)) for half in (real, fake)]
        label += [0, 1]
        group += [number % 5] * 2
    folds = [
        (np.flatnonzero(np.array(group) != k), np.flatnonzero(np.array(group) == k))
        for k in range(5)
    ]
    found = []
    for part in (slice(0, 15), slice(15, 30)):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        score = cross_val_predict(
            model, np.array(rows)[:, part], label, cv=folds, method="predict_proba"
        )
        found.append(roc_auc_score(label, score[:, 1]))
    return found


def natural(number):
    """A picture whose detail falls with its frequency, as that of photographs does."""
    rng = np.random.default_rng([11, number])
    layers = [
        cv2.resize(rng.normal(0, size, (240 // size + 2,) * 2 + (3,)), (240, 240))
        for size in (2, 6, 20, 60)
    ]
    picture = sum(layers) + rng.uniform(80, 170, 3)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def test_what_surrounds_the_face_does_not_tell_the_halves_apart():
    ring, _ = shortcut(natural, 120)
    assert ring == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_a_thousand_pairs_have_no_shortcut_in_their_surroundings():
    ring, whole = shortcut(natural, 1000)
    assert ring == pytest.approx(0.5, abs=0.03), (ring, whole)


def test_without_colour_both_halves_are_the_clip():
    frames = MOVING.transpose(0, 2, 3, 1)
    one, other = halves(frames, draw_blend(np.random.default_rng(0), 5, 240, BARE), BARE)
    assert one is frames and other is frames
