"""A part of a frame has the pixels of the whole; what is converted lazily is what is converted at
once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.frames import ArrayFrames, DecodedFrame, DecodedFrames
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.faces.crop import TEMPLATE, align_transform, crop_clip, crop_frames
from unmask.pipeline.faces.cuts import shrink_frame, sparse_step, thumbnail

VIDEOS = {
    "420": Recipe(frames=9, size=(202, 150)),
    "420 full range": Recipe(frames=9, size=(160, 120), pixels="yuvj420p"),
    "444": Recipe(frames=9, size=(202, 151), pixels="yuv444p"),
    "422": Recipe(frames=9, size=(202, 150), pixels="yuv422p"),
    "10 bit": Recipe(frames=9, size=(202, 150), pixels="yuv420p10le"),
    "turned": Recipe(frames=9, size=(202, 150), rotation=(90, False, False)),
}


@pytest.fixture(params=VIDEOS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_video(tmp_path / "v.mp4", VIDEOS[request.param])


def one_clip(path: Path) -> DecodedFrames:
    (clip,) = decode_clips(path, scan(path, Limits()), np.array([[2, 3, 4]]))
    return clip


def is_444(view: DecodedFrame) -> bool:
    return view.frame.format.name == "yuv444p"


def test_parts_and_single_pictures_are_the_whole(path: Path) -> None:
    whole = one_clip(path).pixels
    height, width = whole.shape[1:3]
    rng = np.random.default_rng(5)
    clip = one_clip(path)
    for _ in range(25):
        left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
        top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
        for part, picture in zip(clip.part(left, top, right, bottom), whole, strict=True):
            assert np.array_equal(part, picture[top:bottom, left:right])
    assert clip.size == (height, width) and len(clip) == 3
    assert np.array_equal(clip.picture(1), whole[1])
    assert np.array_equal(clip.part(0, 0, width, height)[1], whole[1])


def test_sparse_pictures_are_the_pictures_seen_from_afar(path: Path) -> None:
    clip = one_clip(path)
    whole = clip.pixels
    for step in (1, 3, 4):
        for seen, picture in zip(clip.sparse(step), whole, strict=True):
            expected = picture[::step, ::step].astype(int)
            assert seen.shape == expected.shape
            # swscale's direct way for 4:2:0 is up to 4 levels from the exact one.
            assert np.abs(seen - expected).max() <= 5
    small = shrink_frame(clip.sparse(sparse_step(*clip.size))[1])
    assert np.abs(small.astype(int) - thumbnail(whole[1])).max() <= 5


def test_a_view_is_the_picture_and_its_half_the_mean_of_two_by_two(path: Path) -> None:
    whole = one_clip(path).pixels[1]
    height, width = (length // 2 for length in whole.shape[:2])
    means = whole[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
    view = one_clip(path).view(1)
    assert (view.height, view.width) == whole.shape[:2]
    half = view.half()
    off = np.abs(half - means)
    assert half.shape == means.shape and off.mean() < 0.8
    # 4:4:4 is made smaller before it is converted: colours that RGB cannot show are cut off later.
    assert (off <= 2).mean() > 0.99 and off.max() <= (16 if is_444(view) else 0.5)
    assert np.array_equal(view.pixels(), whole) and np.array_equal(view.half(), half), (
        "whatever came before"
    )


@pytest.mark.parametrize("side", [30.0, 90.0, 170.0, 600.0])
def test_a_crop_of_lazy_frames_is_the_crop_of_their_pixels(path: Path, side: float) -> None:
    pixels = one_clip(path).pixels
    rng = np.random.default_rng(int(side))
    for _ in range(6):
        centre = rng.uniform(0, 1, 2) * pixels.shape[2:0:-1]
        box = np.concatenate([centre - side / 2, centre + side / 2])
        landmark = TEMPLATE * side / 60 + centre + rng.normal(0, side / 20, (5, 2))
        transform = align_transform(box, landmark, 96, 1.3)
        lazy, whole = crop_frames(one_clip(path), transform, 96), crop_clip(pixels, transform, 96)
        # The same pixels; a coordinate that lies between two steps may round the other way.
        assert np.abs(lazy.astype(int) - whole).max() <= 1
        assert (lazy != whole).mean() < 0.002


def test_overlapping_windows_share_their_pictures(path: Path) -> None:
    windows = np.array([[0, 1, 2], [1, 2, 3], [1, 3, 4], [6, 7, 8]])
    info = scan(path, Limits())
    clips = list(decode_clips(path, info, windows))
    alone = [next(decode_clips(path, info, window[None])).pixels for window in windows]
    for clip, pixels, window in zip(clips, alone, windows, strict=True):
        assert clip.index.tolist() == window.tolist() and np.array_equal(clip.pixels, pixels)


def test_frames_in_memory_answer_the_same_questions() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    clip = ArrayFrames(pixels, np.arange(3), np.arange(3) / 25)
    assert clip.size == (20, 30) and len(clip) == 3
    assert np.array_equal(clip.part(4, 2, 9, 11), pixels[:, 2:11, 4:9])
    assert np.array_equal(clip.sparse(4), pixels[:, ::4, ::4]) and np.array_equal(
        clip.picture(2), pixels[2]
    )
    assert np.array_equal(clip.view(1), pixels[1])
