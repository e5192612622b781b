"""Association on scenes whose truth is known because they are made up: who is who never depends on
box order.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unmask.pipeline.demo.drawing import draw_frames, draw_identity
from unmask.pipeline.faces.cuts import likeness, thumbnail
from unmask.pipeline.faces.looks import describe, look_distance
from unmask.pipeline.faces.tracks import Anchor, associate

ROOM = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
STREET = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)


def look(person: int, change: float = 0.0, seed: int = 0) -> np.ndarray:
    """A made-up look: the person's own layout and colours, part of them replaced by chance."""
    own, chance = np.random.default_rng([7, person]), np.random.default_rng([8, person, seed])
    layout = (1 - change) * own.normal(size=256) + change * chance.normal(size=256)
    colours = (1 - change) * own.dirichlet(np.full(600, 0.05)) + change * chance.dirichlet(
        np.full(600, 0.05)
    )
    return np.concatenate([layout / np.linalg.norm(layout), colours]).astype(np.float32)


def anchor(
    *faces: tuple[int, float, float, float], change: float = 0.25, seed: int = 0, scene=ROOM
) -> Anchor:
    """Faces as (person, centre x, centre y, side)."""
    box = [(x - s / 2, y - s / 2, x + s / 2, y + s / 2) for _, x, y, s in faces]
    looks = [look(person, change, seed) for person, *_ in faces]
    return Anchor(np.array(box, np.float32).reshape(-1, 4), np.array(looks), scene)


def persons(anchors: list[Anchor], truth: list[list[int]]) -> list[list[tuple[int, int]]]:
    """Tracks as (anchor, true person)."""
    return [[(n, truth[n][f]) for n, f in track.faces] for track in associate(anchors)]


def test_nobody_is_no_track() -> None:
    assert associate([]) == [] and associate([anchor(), anchor()]) == []


def test_two_who_stay_stay_apart_whatever_the_order_of_their_boxes() -> None:
    orders = [[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]]
    places = {0: (0, 100, 100, 80), 1: (1, 300, 110, 60)}
    anchors = [anchor(*(places[p] for p in order), seed=n) for n, order in enumerate(orders)]
    assert persons(anchors, orders) == [[(n, 0) for n in range(5)], [(n, 1) for n in range(5)]]


def test_twins_are_told_apart_by_their_place() -> None:
    orders = [[0, 1], [1, 0], [1, 0], [0, 1]]
    anchors = []
    for n, order in enumerate(orders):
        faces = [(5, 100 + 220 * p + 4 * n, 100, 80) for p in order]
        anchors.append(anchor(*faces, seed=n))
    tracks = persons(anchors, orders)
    assert sorted(tracks) == [[(n, 0) for n in range(4)], [(n, 1) for n in range(4)]]


def test_two_who_change_places_are_told_apart_by_their_looks() -> None:
    x = [(100, 300), (160, 240), (240, 160), (300, 100)]
    anchors = [anchor((0, a, 100, 80), (1, b, 100, 78), seed=n) for n, (a, b) in enumerate(x)]
    assert persons(anchors, [[0, 1]] * 4) == [
        [(n, 0) for n in range(4)],
        [(n, 1) for n in range(4)],
    ]


def test_who_leaves_and_returns_is_the_same_person() -> None:
    here, other = (0, 100, 100, 80), (1, 320, 100, 60)
    anchors = [
        anchor(here, other),
        anchor(other, seed=1),
        anchor(other, seed=2),
        anchor(here, other, seed=3),
    ]
    tracks = persons(anchors, [[0, 1], [1], [1], [0, 1]])
    assert [(0, 0), (3, 0)] in tracks and [(n, 1) for n in range(4)] in tracks and len(tracks) == 2


def test_a_cut_to_another_person_in_the_same_place_is_another_track() -> None:
    anchors = [anchor((0, 100, 100, 80), seed=n) for n in range(3)]
    anchors += [anchor((1, 100, 100, 80), seed=n, scene=STREET) for n in range(2)]
    assert persons(anchors, [[0]] * 3 + [[1]] * 2) == [[(0, 0), (1, 0), (2, 0)], [(3, 1), (4, 1)]]


def test_a_cut_back_finds_the_first_person_again() -> None:
    scenes = [(0, ROOM), (1, STREET), (0, ROOM), (1, STREET), (0, ROOM)]
    anchors = [anchor((who, 100, 100, 80), seed=n, scene=s) for n, (who, s) in enumerate(scenes)]
    truth = [[who] for who, _ in scenes]
    assert persons(anchors, truth) == [[(0, 0), (2, 0), (4, 0)], [(1, 1), (3, 1)]]


def test_the_main_person_has_the_largest_sum_of_sizes() -> None:
    # present in 6 clips with side 50 (300) beats present in 2 with side 120 (240), but not in 3
    # with 120 (360)
    for large, main in ((2, 0), (3, 1)):
        anchors = [
            anchor((0, 100, 100, 50), *[(1, 400, 200, 120)] * (n < large), seed=n) for n in range(6)
        ]
        tracks = associate(anchors)
        assert [len(t.faces) for t in tracks] == ([6, large] if main == 0 else [large, 6])
        assert tracks[0].weight == pytest.approx(300 if main == 0 else 360)


def test_one_person_is_never_two_faces_of_one_anchor() -> None:
    anchors = [
        anchor((3, 100, 100, 80), (3, 130, 100, 80), (3, 160, 100, 80), change=0.1, seed=n)
        for n in range(6)
    ]
    for track in associate(anchors):
        assert len({n for n, _ in track.faces}) == len(track.faces)


def test_drawn_persons_look_alike_to_themselves_only() -> None:
    def looks(seed: int) -> list[np.ndarray]:
        frames = [
            f for f, _ in draw_frames(draw_identity(seed), 60, (240, 240), seed=seed, face=0.7)
        ]
        return [describe(f) for f in frames[::20]]

    people = [looks(seed) for seed in range(4)]
    within = [look_distance(a, b) for p in people for a in p for b in p]
    between = [
        look_distance(a, b) for i, p in enumerate(people) for q in people[:i] for a in p for b in q
    ]
    assert max(within) < min(between)
    assert look_distance(people[0][0], people[0][0]) == pytest.approx(0, abs=1e-5)


def test_thumbnails_of_any_picture() -> None:
    rng = np.random.default_rng(2)
    for size in [(1, 1), (5, 700), (1080, 1920)]:
        assert thumbnail(rng.integers(0, 256, (*size, 3), np.uint8)).shape == (32, 32, 3)
    ramp = np.tile(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (360, 1, 3))
    expected = cv2.resize(ramp, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail(ramp).astype(int) - expected).max() <= 2


def test_likeness_knows_brightness_from_content() -> None:
    assert likeness(ROOM, ROOM) == (0.0, pytest.approx(1.0))
    dim = (ROOM * 0.6).astype(np.uint8)
    levels, correlation = likeness(ROOM, dim)
    assert levels > 40 and correlation > 0.99
    assert abs(likeness(ROOM, STREET)[1]) < 0.1
    assert likeness(np.zeros_like(ROOM), ROOM)[1] == 0.0
