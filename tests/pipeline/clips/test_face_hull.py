"""The outline of a face and its parts: where they lie, how large they are, and that no detector's
slip stops a training.
"""

import cv2
import numpy as np
import pytest

from unmask.pipeline.clips.face_hull import (
    KINDS,
    SoftDraw,
    border_ramp,
    draw_hull,
    draw_soft,
    face_of,
    hull,
    soften,
)

STILL = np.array([[1.0, 0, 0], [0, 1, 0]])
BOX = np.array([51, 27, 188, 212.0])
POINTS = np.array([(93, 100), (155, 100), (125, 139), (97, 167), (151, 167.0)])


def filled(outline, side=240):
    return cv2.fillPoly(np.zeros((side, side), np.uint8), [np.rint(outline).astype(int)], 1)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def drawn_ellipse(centre, half, degrees=0.0, side=240):
    canvas = np.zeros((side, side), np.uint8)
    at = tuple(int(v) for v in np.rint(centre))
    axes = tuple(int(v) for v in np.rint(half))
    return cv2.ellipse(canvas, at, axes, degrees, 0, 360, 1, -1)


def place(scale=1.0, move=(0, 0), degrees=0.0):
    """The usual box, points and face ellipse of a crop, scaled, turned and moved about its
    centre.
    """
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = 119.5 + np.array(move)
    points = (POINTS - (124, 119.5)) @ matrix.T + middle
    half = scale * (BOX[2:] - BOX[:2]) / 2
    ellipse = drawn_ellipse(middle + matrix @ (0, 9), scale * np.array([69, 81]), degrees)
    return np.concatenate([middle - half, middle + half]), points, ellipse


@pytest.mark.parametrize(
    "scale, move, degrees", [(1, (0, 0), 0), (0.8, (12, -9), 0), (0.6, (0, 0), 12), (1, (5, 5), -8)]
)
def test_the_oval_covers_a_drawn_ellipse_of_known_place(scale, move, degrees):
    box, points, ellipse = place(scale, move, degrees)
    assert overlap(filled(face_of(box, points, 240).outline), ellipse) >= 0.85
    assert overlap(filled(face_of(box, None, 240).outline), ellipse) >= 0.85


def test_points_turn_the_parts_and_shift_the_outline_of_a_turned_head():
    face = face_of(BOX, POINTS, 240)
    np.testing.assert_allclose((*face.across, *face.down), (1, 0, 0, 1), atol=1e-9)
    np.testing.assert_allclose((*face.origin, face.width, face.height), (124, 100, 62, 67))
    beside = POINTS + np.array([(0, 0), (0, 0), (10, 0), (0, 0), (0, 0)])
    # half of 1.5 times the nose's 10 px: the eye table's half of the mean
    np.testing.assert_allclose(face_of(BOX, beside, 240).centre - face.centre, (-7.5, 0))


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        POINTS + 400,
        POINTS[[0, 1, 2, 3, 4]] * (1, -1) + (0, 240),
        POINTS[[1, 0, 2, 4, 3]],
    ],
    ids=["one_place", "no_numbers", "far_out", "upside_down", "mirrored"],
)
def test_points_that_no_face_has_leave_the_oval_of_the_box(points):
    np.testing.assert_array_equal(
        face_of(BOX, points, 240).outline, face_of(BOX, None, 240).outline
    )


@pytest.mark.parametrize(
    "box",
    [
        None,
        np.full(4, np.nan),
        np.array([100, 100, 100, 100.0]),
        np.array([200, 200, 100, 100.0]),
        np.array([-900, -900, -700, -700.0]),
        np.array([0, 0, np.inf, 10]),
    ],
    ids=["none", "no_numbers", "empty", "turned", "outside", "endless"],
)
def test_a_box_that_no_face_has_gives_way_to_that_of_the_usual_crop(box):
    usual = face_of(None, None, 240)
    np.testing.assert_array_equal(face_of(box, None, 240).outline, usual.outline)
    np.testing.assert_allclose(usual.outline.min(0), (119.5 - 68.9, 119.5 - 71.8), atol=0.1)


def test_a_box_of_another_shape_than_a_face_is_not_followed_further():
    thin, wide = np.array([110, 27, 130, 212.0]), np.array([27, 100, 212, 140.0])
    for box, ratio in ((thin, 0.5), (wide, 1.2)):
        span = np.ptp(face_of(box, None, 240).outline[:, 0])
        assert span == pytest.approx(2 * 0.373 * 185 * ratio / 0.743, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_takes_five_to_forty_percent_of_the_crop_and_its_own_part_of_the_face(kind):
    face = face_of(BOX, POINTS, 240)
    rows = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mask = hull(face, draw_hull(rng, (kind,)), STILL, 240)
        soft = soften(mask, draw_soft(rng), face.area)
        assert soft.max() == 255
        rows.append(((soft > 127).mean(), *np.flatnonzero((soft > 127).any(1))[[0, -1]]))
    area, top, bottom = np.array(rows).T
    assert area.min() > 0.05 and area.max() < 0.40
    forehead, brows, mouth = 100 - 0.5 * 67, 100 - 0.3 * 67, 100 + 0.5 * 67
    assert {
        "oval": np.median(top) < forehead + 10,
        "brows": forehead - 10 < np.median(top) < brows + 20,
        "inner": np.median(top) > brows - 10 and np.median(bottom) < 200,
        "lower": top.min() > mouth - 8,
    }[kind]


def test_kinds_come_as_often_as_they_are_said_to():
    rng = np.random.default_rng(0)
    drawn = [draw_hull(rng, tuple(KINDS)).kind for _ in range(2000)]
    for kind, share in KINDS.items():
        assert drawn.count(kind) / 2000 == pytest.approx(share, abs=0.04)
    assert {draw_hull(rng, ("oval", "lower")).kind for _ in range(50)} == {"oval", "lower"}


def test_softening_is_sbi_s_blur_threshold_and_blur():
    mask = np.zeros((240, 240), np.uint8)
    mask[60:180, 80:170] = 255
    for first, second, sigma in ((5, 31, 20.0), (21, 9, 5.0)):
        blurred = cv2.GaussianBlur(mask / 255.0, (first, first), 0, borderType=cv2.BORDER_CONSTANT)
        kept = (blurred >= blurred.max() - 1e-9).astype(float)
        expected = cv2.GaussianBlur(kept, (second, second), sigma, borderType=cv2.BORDER_CONSTANT)
        found = soften(mask, SoftDraw(first, second, sigma), whole=0.0) / 255
        np.testing.assert_allclose(found, expected / expected.max(), atol=0.01)


@pytest.mark.parametrize("side", [64, 240])
def test_a_part_too_small_to_be_drawn_in_is_not_lost(side):
    mask = np.zeros((side, side), np.uint8)
    assert not soften(mask, SoftDraw(31, 31, 45.0), 100).any()
    mask[side // 2, side // 2] = 255
    assert soften(mask, SoftDraw(31, 5, 5.0), 100).max() == 255


def test_the_border_stays_free():
    ramp = border_ramp(240)
    assert not ramp[:4].any() and not ramp[:, -4:].any()
    assert (ramp[12:-12, 12:-12] == 255).all() and (np.diff(ramp[120].astype(int)[:13]) >= 0).all()
