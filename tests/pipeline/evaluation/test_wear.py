"""What is done to whole frames does what its name and level say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.support.drawn_videos import draw_picture
from unmask.pipeline.clips import transcode as tc
from unmask.pipeline.evaluation import wear

WIDTH, HEIGHT = 192, 144
VIDEO = np.stack([draw_picture(number, WIDTH, HEIGHT) for number in range(24)])
BOX = np.array([60, 40, 130, 120], np.float32)


def stretch(first: int = 12, count: int = 3, number: int = 0) -> wear.Stretch:
    return wear.Stretch(VIDEO, first, count, number, 25.0, BOX)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def worn(name: str, level: int, given: wear.Stretch | None = None) -> np.ndarray:
    _, parameter = wear.WEAR[name].levels[level - 1]
    return wear.WEAR[name].apply(given or stretch(), parameter, rng())


def error(shown: np.ndarray) -> float:
    return float(((shown.astype(float) - stretch().clip) ** 2).mean())


@pytest.mark.parametrize("name", ["RS", "SC", "WM", "WF", "VP9"])
def test_the_same_numbers_give_the_same_pixels_and_higher_levels_are_worse(name: str) -> None:
    last = len(wear.WEAR[name].levels)
    mild, again, strong = worn(name, 1), worn(name, 1), worn(name, last)
    assert len(mild) == 3 and mild.dtype == np.uint8 and np.array_equal(mild, again)
    if mild.shape == strong.shape == stretch().clip.shape:
        assert error(strong) > error(mild) > 0
    else:  # a filmed screen has fewer pixels
        contrast = [np.abs(np.diff(shown.astype(float), axis=2)).mean() for shown in (mild, strong)]
        assert contrast[1] > contrast[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", wear.WEAR.values(), ids=lambda kind: kind.name)
def test_every_level_of_every_kind_runs_and_is_repeatable(kind: wear.Wear) -> None:
    if kind.lacking:
        pytest.skip(kind.lacking)
    before = VIDEO.copy()
    for _, parameter in kind.levels:
        first, second = (kind.apply(stretch(number=7), parameter, rng()) for _ in range(2))
        assert len(first) == 3 and first.dtype == np.uint8 and np.array_equal(first, second)
    assert np.array_equal(VIDEO, before)


def test_dropping_frames_takes_every_other_one_and_stays_inside_the_video() -> None:
    assert np.array_equal(worn("FR", 1), VIDEO[[12, 14, 16]])
    assert np.array_equal(worn("FR", 2), VIDEO[[12, 15, 18]])
    assert np.array_equal(worn("FR", 2, stretch(first=20)), VIDEO[[17, 20, 23]])
    short = replace(stretch(first=0), frames=VIDEO[:4])
    assert np.array_equal(worn("FR", 2, short), VIDEO[[0, 3, 3]])


def test_another_rate_takes_the_nearest_frame_of_the_whole_video() -> None:
    # 25 -> 24 frames a second: shown frame k is the video's k x 25/24, whatever clip is asked.
    given = stretch(first=11, count=6)
    place = (np.round(11 * 24 / 25) + np.arange(6)) * 25 / 24
    assert np.array_equal(worn("FN", 1, given), VIDEO[np.rint(place).astype(int)])
    assert not np.array_equal(worn("FN", 1, given), given.clip)
    # 25 -> 30: some frame is shown twice.
    fast = worn("FN", 2, stretch(first=5, count=7))
    assert any(np.array_equal(a, b) for a, b in itertools.pairwise(fast))
    # A stretch that begins later in the file gives the same frames of it.
    later = wear.Stretch(VIDEO[4:], 7, 6, 4, 25.0, BOX)
    assert np.array_equal(worn("FN", 1, later), worn("FN", 1, given))


def test_blending_mixes_two_neighbours_in_proportion() -> None:
    shown = worn("FB", 2, stretch(first=6, count=4))
    place = (np.round(6 * 30 / 25) + np.arange(4)) * 25 / 30
    low = np.floor(place).astype(int)
    part = (place - low)[:, None, None, None]
    expected = (1 - part) * VIDEO[low] + part * VIDEO[low + 1]
    assert np.abs(shown - expected).max() <= 0.51


def test_a_site_shrinks_the_longer_side_and_leaves_smaller_videos_as_large_as_they_are() -> None:
    wide = np.stack([draw_picture(number, 1000, 400) for number in range(2)])
    given = wear.Stretch(wide, 0, 2, 0, 25.0, BOX)
    assert worn("SITE", 3, given).shape == (2, 256, 640, 3)
    assert worn("SITE", 1, given).shape == (2, 400, 1000, 3)
    assert worn("CHAIN", 1).shape == (3, HEIGHT, WIDTH, 3)


def test_more_bits_and_fewer_encoders_are_nearer_to_the_video() -> None:
    fast, slow = error(worn("MSG", 1)), error(worn("MSG", 3))
    assert slow > fast
    once = wear.WEAR["H264"].apply(stretch(), tc.Coding("H.264", 33), rng())
    assert error(worn("DB", 5)) > error(once)  # H.264 33, then H.265


def test_a_watermark_covers_two_percent_in_a_corner_or_lies_on_the_face() -> None:
    changed = (worn("WM", 5) != stretch().clip).any((0, 3))
    assert 0.015 < changed.mean() < 0.022
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.max() < HEIGHT / 2 or rows.min() > HEIGHT / 2
    assert columns.max() < WIDTH / 2 or columns.min() > WIDTH / 2
    rows, columns = np.nonzero((worn("WF", 5) != stretch().clip).any((0, 3)))
    assert BOX[0] - 1 <= columns.min() and columns.max() <= BOX[2] + 1
    assert BOX[1] < rows.min() and rows.max() < BOX[3] + 1
    faint = worn("WM", 1).astype(float) - stretch().clip
    full = worn("WM", 5).astype(float) - stretch().clip
    assert np.abs(faint - 0.2 * full).max() <= 0.71


def test_a_tilted_screen_leaves_the_middle_of_the_face_where_it_is() -> None:
    for seed in range(5):
        warp = wear._tilt(BOX, WIDTH, HEIGHT, np.random.default_rng(seed))
        there = warp @ [95, 80, 1]
        assert np.allclose(there[:2] / there[2], [95, 80])
        corner = warp @ [0, 0, 1]
        assert 0 < np.abs(corner[:2] / corner[2]).max() < 0.06 * WIDTH


def test_moire_has_the_amplitude_it_says() -> None:
    grey = wear.Stretch(np.full((1, 256, 256, 3), 128, np.uint8), 0, 1, 0, 25.0, BOX)
    swing = [worn("SC", level, grey).astype(float).std() for level in (1, 5)]
    assert swing[0] < swing[1]
    still = wear._filmed(grey, 0.0, rng()).astype(float)
    assert still.std() == pytest.approx(2.0, rel=0.1)  # noise alone


def test_a_kind_without_its_encoder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tc.ENCODERS, "H.265", replace(tc.ENCODERS["H.265"], library="nothing"))
    assert "has no H.265 encoder (nothing)" in wear.WEAR["DB"].lacking
    assert not wear.WEAR["VP9"].lacking
