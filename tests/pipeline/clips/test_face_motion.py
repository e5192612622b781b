"""How far a face moves in a clip, compared with moves that are known."""

import cv2
import numpy as np
import pytest

from unmask.pipeline.clips.face_motion import moves, point_moves

CENTRE = np.array([120.0, 125.0])
POINTS = np.array([[93.0, 100], [155, 100], [125, 139], [97, 167], [151, 167]])
SHIFTS = [(0, 0), (-2, 3), (0, 0), (4, -4), (1, 1)]


def texture(seed, side, smooth=3):
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), smooth), None, 0, 255, cv2.NORM_MINMAX)


def shifted(picture, side, shifts=SHIFTS):
    """Windows of a picture in which what is seen moves by (x, y)."""
    return np.stack([picture[20 - y : 20 - y + side, 20 - x : 20 - x + side] for x, y in shifts])


@pytest.mark.parametrize("side", [120, 240])
def test_whole_pixels_are_found(side):
    frames = shifted(texture(1, side + 40), side)
    np.testing.assert_allclose(moves(frames, CENTRE * side / 240), SHIFTS, atol=0.25)


def test_only_the_face_counts_not_what_is_behind_it():
    behind, face = texture(2, 240), shifted(texture(3, 280), 240)
    inside = cv2.ellipse(np.zeros((240, 240), np.uint8), (120, 125), (75, 90), 0, 0, 360, 1, -1)
    frames = np.where(inside[..., None] > 0, face, behind)
    np.testing.assert_allclose(moves(frames, CENTRE), SHIFTS, atol=1)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_without_texture_nothing_moves(level):
    assert not moves(np.full((5, 240, 240, 3), level, np.uint8), CENTRE).any()


def test_noise_alone_and_leaps_are_bounded():
    noise = np.random.default_rng(4).integers(0, 256, (5, 240, 240, 3)).astype(np.uint8)
    assert np.abs(moves(noise, CENTRE)).max() <= 9
    leap = shifted(texture(5, 280), 240, [(0, 0), (0, 0), (0, 0), (20, 0), (0, -20)])
    assert np.abs(moves(leap, CENTRE)).max() <= 9


def test_a_single_frame_and_a_tiny_crop_stand_still():
    assert not moves(texture(6, 64)[None], CENTRE).any()
    assert moves(np.stack([texture(6, 16)] * 3), np.array([8.0, 8])).shape == (3, 2)


@pytest.mark.parametrize("side", [120, 240])
def test_landmarks_are_found_again_where_whole_pixels_moved(side):
    frames = shifted(texture(1, side + 40), side)
    np.testing.assert_allclose(point_moves(frames, POINTS * side / 240), SHIFTS, atol=0.1)


def test_landmarks_follow_the_face_where_most_of_what_is_seen_stands_still():
    """A face smaller than the window of the correlation, in front of texture that does not move."""
    behind, face = texture(2, 240), shifted(texture(3, 280), 240)
    inside = cv2.ellipse(np.zeros((240, 240), np.uint8), (124, 134), (52, 58), 0, 0, 360, 1, -1)
    frames = np.where(inside[..., None] > 0, face, behind)
    np.testing.assert_allclose(point_moves(frames, POINTS), SHIFTS, atol=0.75)


def test_landmarks_that_are_lost_move_nothing():
    flat = np.full((5, 240, 240, 3), 90, np.uint8)
    noise = np.random.default_rng(4).integers(0, 256, (5, 240, 240, 3)).astype(np.uint8)
    frames = shifted(texture(1, 280), 240)
    assert not point_moves(flat, POINTS).any()
    assert np.abs(point_moves(noise, POINTS)).max() <= 9
    for points in (POINTS * np.nan, POINTS + 1e6, POINTS - 1e6):
        assert not point_moves(frames, points).any()
    leap = shifted(texture(5, 280), 240, [(0, 0), (0, 0), (0, 0), (20, 0), (0, -20)])
    assert np.abs(point_moves(leap, POINTS)).max() <= 9
    assert not point_moves(frames[:1], POINTS).any()
    assert point_moves(np.stack([texture(6, 16)] * 3), POINTS / 15).shape == (3, 2)
