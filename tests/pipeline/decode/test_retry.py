"""A plan that breaks costs a second reading, never the video; what does not break is read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.decode.test_damage import blank_pictures
from tests.support.drawn_videos import Recipe, decode_plainly, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.planned import PlanBroken
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.rgb import Converter
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import VideoInfo

WINDOW = np.array([[28, 29, 30, 31]])


def test_a_sound_video_is_read_once_as_planned(tmp_path: Path) -> None:
    path, calls = write_video(tmp_path / "v.mp4", Recipe()), []

    def read(info: VideoInfo) -> int:
        calls.append(info.method)
        return sum(len(clip) for clip in decode_clips(path, info, WINDOW))

    assert with_fallback(path, Limits(), read) == 4
    assert calls == ["planned"]


def test_a_broken_plan_is_read_again_packet_by_packet(tmp_path: Path) -> None:
    """Picture 30 of an MJPEG AVI is zeros: no index shows it, the decoder does."""
    path, calls = tmp_path / "v.avi", []
    blank_pictures(path, range(30, 31))

    def read(info: VideoInfo) -> np.ndarray:
        calls.append((info.method, bool(info.guard)))
        (clip,) = decode_clips(path, info, WINDOW)
        return clip.pixels

    pixels = with_fallback(path, Limits(), read)
    assert calls == [("planned", False), ("sequential", True)]
    truth = np.empty((120, 160, 3), np.uint8)
    Converter(0).write(decode_plainly(path)[28], truth)
    assert np.array_equal(pixels[0], truth)


def test_what_the_reader_raises_passes_through(tmp_path: Path) -> None:
    path, calls = write_video(tmp_path / "v.mp4", Recipe()), []

    def read(info: VideoInfo) -> None:
        calls.append(info.method)
        raise VideoError("no_face", "none")

    with pytest.raises(VideoError, match="no_face"):
        with_fallback(path, Limits(), read)
    assert calls == ["planned"]


def test_no_third_attempt(tmp_path: Path) -> None:
    path, calls = write_video(tmp_path / "v.mp4", Recipe()), []

    def read(info: VideoInfo) -> None:
        calls.append(info.method)
        raise PlanBroken("again")

    with pytest.raises(PlanBroken):
        with_fallback(path, Limits(), read)
    assert calls == ["planned", "sequential"]
