"""Windows never run over a gap in the frame numbers, and a video without gaps is planned as
ever.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pictures_of import save_pictures
from unmask.pipeline.config import CropConfig, ExtractConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import find_windows, plan_clips, spread_clips
from unmask.pipeline.demo.drawing import draw_frames, draw_identity
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction.crops import read_crops
from unmask.pipeline.records import VideoInfo


def info_of(numbers: list[int] | None, frames: int = 0) -> VideoInfo:
    found = None if numbers is None else np.array(numbers, np.int64)
    frames = frames if numbers is None else len(numbers)
    return VideoInfo(
        "pictures",
        "png",
        "rgb24",
        64,
        64,
        0,
        25.0,
        frames,
        np.arange(frames) / 25,
        "planned",
        numbers=found,
    )


@settings(max_examples=150, deadline=None)
@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 9), st.integers(1, 6))
def test_every_window_is_a_run_of_numbers_and_none_is_missed_while_there_is_room(
    numbers, clips, length
) -> None:
    ordered = sorted(numbers)
    runs = [n for n in ordered if all(n + step in numbers for step in range(length))]
    if not runs:
        with pytest.raises(VideoError) as caught:
            plan_clips(info_of(ordered), clips, length)
        assert caught.value.reason == "too_short"
        return
    shown = np.array(ordered)[plan_clips(info_of(ordered), clips, length)]
    assert (np.diff(shown, axis=1) == 1).all()
    assert len({row[0] for row in shown.tolist()}) == len(shown) == min(clips, len(runs))


@pytest.mark.parametrize("first", [0, 1, 900])
def test_without_gaps_it_is_the_plan_of_a_video(first: int) -> None:
    numbered = plan_clips(info_of(list(range(first, first + 40))), 6, 5)
    assert (numbered == spread_clips(40, 6, 5)).all()
    assert (plan_clips(info_of(None, 40), 6, 5) == spread_clips(40, 6, 5)).all()


def test_sparse_pictures_hold_no_clip_and_the_reason_says_so() -> None:
    with pytest.raises(VideoError, match="no 5 consecutive frame numbers among 32"):
        plan_clips(info_of(list(range(0, 320, 10))), 16, 5)


def test_clips_of_another_video_are_found_by_number_where_they_are_whole() -> None:
    index = np.array([[3, 4, 5], [8, 9, 10], [20, 21, 22]])
    windows, there = find_windows(info_of(None, 12), index)
    assert windows.tolist() == [[3, 4, 5], [8, 9, 10]] and there.tolist() == [True, True, False]
    windows, there = find_windows(info_of([1, 3, 4, 5, 7, 8, 10, 20, 21, 22]), index)
    assert windows.tolist() == [[1, 2, 3], [7, 8, 9]] and there.tolist() == [True, False, True]


def test_pictures_of_a_face_with_gaps_give_clips_of_neighbouring_pictures(tmp_path: Path) -> None:
    """Numbers as WildDeepfake has them: not padded, from anywhere, with gaps; 9 comes before 10."""
    numbers = [*range(7, 13), *range(15, 19), *range(98, 104)]
    drawn = [picture for picture, _ in draw_frames(draw_identity(3), 16, (224, 224), 3, face=0.8)]
    folder = save_pictures(
        tmp_path / "sequence", {f"{n}.png": p for n, p in zip(numbers, drawn, strict=True)}
    )
    crop = CropConfig(clips=16, frames=4, size=64, bands=False)
    _, (crops,) = read_crops(folder, ExtractConfig(crop=crop))
    whole = [[n, n + 1, n + 2, n + 3] for n in (7, 8, 9, 15, 98, 99, 100)]
    assert crops.index.tolist() == whole
    assert np.allclose(crops.pts, (crops.index - 7) / 25)
    info = scan(folder, Limits())
    (clip,) = decode_clips(folder, info, np.array([[2, 3, 4, 5]]))  # 9, 10, 11, 12
    assert np.array_equal(clip.pixels, np.stack(drawn[2:6]))
