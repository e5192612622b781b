"""A planned decode gives the bytes of a plain one, in less work, or says that it cannot."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.drawn_videos import RATE, Recipe, decode_plainly, draw_picture, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode import planned as planning
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.planned import PlanBroken
from unmask.pipeline.decode.rgb import Converter
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import spread_clips
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import VideoInfo

LIMITS = Limits()


def x264(**options: object) -> dict[str, str]:
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def x264_params(text: str) -> dict[str, str]:
    return {"x264-params": text}


VARIABLE = tuple(np.cumsum([1 + (n % 7 == 3) * 3 + (n % 5 == 1) for n in range(60)]).tolist())

PLANNED = {
    "defaults": Recipe(),
    "keyint 12": Recipe(options=x264_params("keyint=12:scenecut=0")),
    "keyint 250, 5 B": Recipe(options=x264_params("keyint=250:bframes=5:b-adapt=0:scenecut=0")),
    "open groups": Recipe(
        options=x264_params("keyint=15:min-keyint=15:open-gop=1:bframes=3:b-adapt=0:scenecut=0")
    ),
    "open groups mkv": Recipe(
        suffix=".mkv", options=x264_params("keyint=10:open-gop=1:bframes=3:b-adapt=0:scenecut=0")
    ),
    "no B": Recipe(options=x264_params("bframes=0:keyint=20")),
    "B as reference": Recipe(
        options=x264_params("bframes=8:b-pyramid=normal:b-adapt=0:ref=5:keyint=30")
    ),
    "all intra": Recipe(options=x264_params("keyint=1"), frames=30),
    "slices, CAVLC": Recipe(options=x264_params("slices=4:cabac=0:keyint=20")),
    "variable rate": Recipe(ticks=VARIABLE),
    "mkv": Recipe(suffix=".mkv", options=x264_params("keyint=20")),
    "ts": Recipe(suffix=".ts", options=x264_params("keyint=20")),
    "fragmented": Recipe(
        muxer={"movflags": "frag_keyframe+empty_moov"}, options=x264_params("keyint=20")
    ),
    "faststart": Recipe(muxer={"movflags": "faststart"}),
    "no edit list": Recipe(muxer={"use_editlist": "0", "movflags": "negative_cts_offsets"}),
    "4:4:4": Recipe(pixels="yuv444p"),
    "4:2:2 10 bit": Recipe(pixels="yuv422p10le"),
    "rgb lossless": Recipe(codec="libx264rgb", pixels="rgb24", options={"crf": "0"}),
    "interlaced": Recipe(interlaced=True, options=x264_params("tff=1:keyint=20")),
    "hevc": Recipe(codec="libx265", options={"x265-params": "keyint=15:log-level=none"}),
    "hevc open": Recipe(
        codec="libx265", options={"x265-params": "keyint=15:open-gop=1:bframes=4:log-level=none"}
    ),
    "hevc 10 bit": Recipe(
        codec="libx265", pixels="yuv420p10le", options={"x265-params": "log-level=none"}, frames=30
    ),
    "mpeg4": Recipe(codec="mpeg4", options={"bf": "2", "g": "12"}),
    "mpeg2 ts": Recipe(codec="mpeg2video", suffix=".ts", options={"bf": "2", "g": "12"}),
    "vp9": Recipe(
        codec="libvpx-vp9",
        suffix=".webm",
        options={"g": "20", "deadline": "realtime", "cpu-used": "8"},
    ),
    "av1": Recipe(codec="libsvtav1", options={"preset": "12", "g": "20"}, frames=45),
    "mjpeg": Recipe(codec="mjpeg", pixels="yuvj420p", suffix=".mkv", frames=30),
    "mjpeg avi": Recipe(codec="mjpeg", pixels="yuvj420p", suffix=".avi", frames=30),
}
SEQUENTIAL = {
    "mpeg4 avi": Recipe(codec="mpeg4", suffix=".avi", options={"bf": "2"}),
    "h264 with B in avi": Recipe(suffix=".avi"),
    "gif": Recipe(codec="gif", suffix=".gif", pixels="rgb8", frames=20),
    "vp8": Recipe(codec="libvpx", suffix=".webm", frames=30),
    "intra refresh": Recipe(options=x264_params("intra-refresh=1:keyint=20:bframes=0")),
    "missing pictures": Recipe(ticks=(*range(30), *range(33, 63))),
}


def plain_pixels(path: Path, info: VideoInfo) -> np.ndarray:
    frames = decode_plainly(path)
    pixels = np.empty((len(frames), info.height, info.width, 3), np.uint8)
    converter = Converter(info.rotation)
    for frame, out in zip(frames, pixels, strict=True):
        converter.write(frame, out)
    return pixels


def selections(frames: int, seed: int = 0) -> list[np.ndarray]:
    """Spread clips, overlapping clips, scattered single frames, the first and the last, everything
    at once.
    """
    random = np.random.default_rng(seed)
    length = min(5, frames)
    starts = np.sort(random.integers(0, frames - length + 1, 4))
    return [
        spread_clips(frames, 4, length),
        starts[:, None] + np.arange(length),
        np.sort(random.choice(frames, min(6, frames), replace=False))[:, None],
        np.array([[0, frames - 1]]) if frames > 1 else np.array([[0]]),
        np.arange(frames)[None, :],
    ]


def decode_or_restart(path: Path, info: VideoInfo, windows: np.ndarray) -> tuple[list, VideoInfo]:
    """What every caller does."""
    try:
        return list(decode_clips(path, info, windows)), info
    except PlanBroken as broken:
        info = scan(path, LIMITS, planned=False, guard=str(broken))
        return list(decode_clips(path, info, windows)), info


def assert_equal_to_plain(
    path: Path, info: VideoInfo, windows: np.ndarray, truth: np.ndarray
) -> None:
    clips, info = decode_or_restart(path, info, windows)
    assert len(clips) == len(windows)
    for clip, window in zip(clips, windows, strict=True):
        assert np.array_equal(clip.index, window)
        assert np.array_equal(clip.pixels, truth[window])
        assert np.array_equal(clip.pts, info.pts[window])
        assert clip.pixels.flags.c_contiguous and clip.pixels.dtype == np.uint8


@pytest.mark.parametrize("name", PLANNED)
def test_planned_equals_plain_decode(name: str, tmp_path: Path) -> None:
    recipe = PLANNED[name]
    path = write_video(tmp_path / f"v{recipe.suffix}", recipe)
    info = scan(path, LIMITS)
    assert info.method == "planned", info.guard
    assert info.frames == recipe.frames
    truth = plain_pixels(path, info)
    for windows in selections(info.frames):
        clips = list(decode_clips(path, info, windows))
        for clip, window in zip(clips, windows, strict=True):
            assert np.array_equal(clip.pixels, truth[window]) and np.array_equal(clip.index, window)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_guard_sends_the_video_to_sequential(name: str, tmp_path: Path) -> None:
    recipe = SEQUENTIAL[name]
    path = write_video(tmp_path / f"v{recipe.suffix}", recipe)
    info = scan(path, LIMITS)
    truth = plain_pixels(path, info)
    assert info.frames == len(truth)
    for windows in selections(info.frames):
        assert_equal_to_plain(path, info, windows, truth)
    final = decode_or_restart(path, info, spread_clips(info.frames, 4, 5))[1]
    assert final.method == "sequential" and final.guard


def test_both_ways_tell_the_same_facts(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", PLANNED["variable rate"])
    fast, slow = scan(path, LIMITS), scan(path, LIMITS, planned=False, guard="asked for")
    assert (slow.method, slow.guard, slow.packets) == ("sequential", "asked for", None)
    assert np.array_equal(fast.pts, slow.pts) and fast.flags == slow.flags == ("vfr",)
    assert (
        (fast.width, fast.height, fast.frames)
        == (slow.width, slow.height, slow.frames)
        == (160, 120, 60)
    )
    assert np.allclose(fast.pts - fast.pts[0], (np.array(VARIABLE) - VARIABLE[0]) / RATE, atol=1e-9)


def test_steady_video_is_not_called_variable_even_with_millisecond_clocks(tmp_path: Path) -> None:
    assert scan(write_video(tmp_path / "v.mkv", Recipe(suffix=".mkv")), LIMITS).flags == ()
    thirds = Recipe(suffix=".mkv", ticks=tuple(3 * n for n in range(60)))
    assert scan(write_video(tmp_path / "w.mkv", thirds), LIMITS).flags == ()


def test_interlaced_pictures_are_flagged_and_left_as_they_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", PLANNED["interlaced"])
    assert "interlaced" in scan(path, LIMITS).flags
    assert "interlaced" in scan(path, LIMITS, planned=False).flags


@pytest.mark.parametrize("threads", [2, 4])
def test_more_decoder_threads_change_nothing(threads: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", PLANNED["open groups"])
    info = scan(path, LIMITS, threads=threads)
    windows = spread_clips(info.frames, 4, 5)
    alone = [clip.pixels for clip in decode_clips(path, info, windows)]
    for clip, truth in zip(decode_clips(path, info, windows, threads=threads), alone, strict=True):
        assert np.array_equal(clip.pixels, truth)


def count_decoded(
    monkeypatch: pytest.MonkeyPatch, path: Path, info: VideoInfo, windows: np.ndarray
) -> int:
    """Frames that left the decoder during one decode_clips."""
    counted = 0
    accept = planning._RunCheck.accept

    def counting(self: planning._RunCheck, frames: list[av.VideoFrame]) -> object:
        nonlocal counted
        counted += len(frames)
        return accept(self, frames)

    with monkeypatch.context() as patch:
        patch.setattr(planning._RunCheck, "accept", counting)
        for _ in decode_clips(path, info, windows):
            pass
    return counted


def test_the_plan_really_skips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One clip in one of five groups: only that group; one long group: only the frames that others
    refer to.
    """
    short = write_video(
        tmp_path / "short.mp4", Recipe(options=x264_params("keyint=12:min-keyint=12:scenecut=0"))
    )
    info = scan(short, LIMITS)
    assert count_decoded(monkeypatch, short, info, np.array([[26, 27, 28]])) <= 12
    assert count_decoded(monkeypatch, short, info, np.arange(60)[None]) == 60

    params = "keyint=250:bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"
    long = write_video(tmp_path / "long.mp4", Recipe(options=x264_params(params)))
    info = scan(long, LIMITS)
    # Of each four frames three are B frames that nobody needs; decoding stops soon after the last
    # wanted frame.
    assert count_decoded(monkeypatch, long, info, np.array([[40, 41]])) <= 40 // 4 + 8
    assert count_decoded(monkeypatch, long, info, np.array([[56, 57, 58, 59]])) <= 60 // 4 + 8


def test_scanning_a_planned_video_decodes_almost_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe())

    def refuse(*_: object) -> None:
        raise AssertionError("a planned scan must not decode the whole video")

    monkeypatch.setattr("unmask.pipeline.decode.scan.decode_all", refuse)
    assert scan(path, LIMITS).frames == 60


@pytest.mark.parametrize("planned", [True, False])
def test_only_the_windows_being_filled_are_held(planned: bool, tmp_path: Path) -> None:
    """Clips come one by one, before the rest of the file is decoded."""
    path = write_video(tmp_path / "v.mp4", Recipe())
    info = scan(path, LIMITS, planned=planned)
    clips = decode_clips(path, info, spread_clips(info.frames, 12, 5))
    first = next(clips)
    assert first.index.tolist() == [2, 3, 4, 5, 6]
    assert clips.gi_frame.f_locals["frames"] is not None, (
        "the decoder is still in the middle of its work"
    )
    assert sum(1 for _ in clips) == 11


def test_pictures_show_the_frame_they_are_numbered_as(tmp_path: Path) -> None:
    """The number drawn into each picture as black and white blocks is the index it comes with."""
    path = write_video(tmp_path / "v.mp4", PLANNED["open groups"])
    info = scan(path, LIMITS)
    for clip in decode_clips(path, info, spread_clips(info.frames, 7, 3)):
        for number, picture in zip(clip.index, clip.pixels, strict=True):
            bits = [picture[4, 10 * bit + 5].mean() > 128 for bit in range(12)]
            assert sum(1 << bit for bit, white in enumerate(bits) if white) == number
            assert np.abs(picture.astype(int) - draw_picture(int(number), 160, 120)).mean() < 12


def test_frames_whose_plan_is_wrong_never_get_through(tmp_path: Path) -> None:
    """An index that lies about keyframes (as a damaged file's may) ends in PlanBroken, not in
    wrong pixels.
    """
    path = write_video(tmp_path / "v.mp4", Recipe(options=x264_params("keyint=250:scenecut=0")))
    info = scan(path, LIMITS)
    rows = info.packets.copy()
    rows["key"][30] = True
    with pytest.raises(PlanBroken):
        list(decode_clips(path, replace(info, packets=rows), np.array([[40, 41, 42]])))
    rows = info.packets.copy()
    rows["pts"][30] += 1
    with pytest.raises(PlanBroken, match="not the one that was listed"):
        list(decode_clips(path, replace(info, packets=rows), np.array([[40, 41, 42]])))


def test_a_file_that_lost_frames_since_its_scan_is_said_to_have_changed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", SEQUENTIAL["mpeg4 avi"])
    info = scan(path, LIMITS)
    write_video(path, replace(SEQUENTIAL["mpeg4 avi"], frames=20))
    with pytest.raises(VideoError) as caught:
        list(decode_clips(path, info, spread_clips(60, 4, 5)))
    assert caught.value.reason == "changed_while_reading"


@pytest.mark.parametrize(
    "windows", [[[58, 59, 60]], [[-1, 0]], [[3, 3]], [[9, 10], [2, 3]], [1, 2]]
)
def test_windows_that_make_no_sense_are_our_callers_fault(windows: list, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe())
    with pytest.raises(ValueError, match="windows"):
        list(decode_clips(path, scan(path, LIMITS), np.array(windows)))


def test_no_window_is_no_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe())
    assert list(decode_clips(path, scan(path, LIMITS), np.empty((0, 5), np.int64))) == []


@pytest.mark.parametrize(
    "frames, clips, length, count",
    [
        (400, 16, 5, 16),
        (80, 16, 5, 16),
        (21, 16, 5, 16),
        (20, 16, 5, 16),
        (19, 16, 5, 15),
        (5, 16, 5, 1),
    ],
)
def test_clips_spread_over_the_whole_video(
    frames: int, clips: int, length: int, count: int
) -> None:
    windows = spread_clips(frames, clips, length)
    assert windows.shape == (count, length) and windows.dtype == np.int64
    assert (np.diff(windows, axis=1) == 1).all()
    starts = windows[:, 0]
    assert len(set(starts.tolist())) == count and windows.min() >= 0 and windows.max() < frames
    # Evenly: steps differ by at most one frame, and as much is left before the first clip as after
    # the last.
    assert np.ptp(np.diff(starts)) <= 1 if count > 1 else True
    assert abs(int(starts[0]) - (frames - 1 - int(windows[-1, -1]))) <= 1


def test_one_clip_lies_in_the_middle() -> None:
    assert spread_clips(101, 1, 5)[0].tolist() == [48, 49, 50, 51, 52]


@pytest.mark.parametrize("frames", [0, 1, 4])
def test_fewer_frames_than_a_clip_are_refused_with_the_count(frames: int) -> None:
    with pytest.raises(VideoError, match=f"{frames} frames, a clip needs 5") as caught:
        spread_clips(frames, 16, 5)
    assert caught.value.reason == "too_short"
    with pytest.raises(VideoError) as caught:
        spread_clips(frames, 16, 5, ("incomplete",))
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("length", [4, 5])
def test_a_video_of_about_one_clip(length: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe(frames=length))
    assert scan(path, LIMITS).frames == length


def test_every_real_video(media: Path) -> None:
    """Same bytes as a plain decode, planned where it should be, with the frame counts that were
    measured by hand.
    """
    counts = {
        "derived_400x400_vp9_30fps.webm": 75,
        "derived_512x384_mpeg4.avi": 100,
        "derived_640x480_h264_yuv444_25fps.mp4": 100,
        "derived_rot90_displaymatrix.mp4": 45,
        "fake_sadtalker_256x256.gif": 44,
        "noface_inpainting_fake_tvil_432x240.mp4": 48,
        "pair_fake_roop_car_1080p.mp4": 24,
        "pair_real_car_1080p.mp4": 24,
        "real_closeup_480x480_h264_aac.mp4": 216,
        "real_crowd_1080p_h264_aac.mp4": 61,
        "real_oddfps_700x700_h264_aac.mp4": 135,
        "real_portrait_720x1364_h264_aac.mp4": 160,
        "real_single_1080p_h264.mp4": 150,
    }
    for path in sorted((media / "videos").iterdir()):
        info = scan(path, LIMITS)
        assert info.frames == counts[path.name]
        assert info.method == ("sequential" if path.suffix in (".avi", ".gif") else "planned"), (
            info.guard
        )
        assert ("vfr" in info.flags) == (path.suffix == ".gif" or "oddfps" in path.name)
        frames = decode_plainly(path)
        assert len(frames) == info.frames
        converter, expected = (
            Converter(info.rotation),
            np.empty((info.height, info.width, 3), np.uint8),
        )
        for clip in decode_clips(path, info, spread_clips(info.frames, 3, 2)):
            for number, picture, seconds in zip(clip.index, clip.pixels, clip.pts, strict=True):
                converter.write(frames[number], expected)
                assert np.array_equal(picture, expected), (path.name, number)
                assert seconds == pytest.approx(frames[number].time, abs=1e-9)


@pytest.mark.parametrize("planned", [True, False])
def test_a_long_video_needs_no_more_memory_than_a_short_one(planned: bool, tmp_path: Path) -> None:
    """3,000 frames of 64x64 would be 37 MB of pixels; two windows and the times of all frames are
    under 2 MB.
    """
    options = {"preset": "ultrafast", "x264-params": "keyint=100"}
    path = write_video(tmp_path / "v.mp4", Recipe(frames=3000, size=(64, 64), options=options))
    tracemalloc.start()
    try:
        info = scan(path, LIMITS, planned=planned)
        windows = spread_clips(info.frames, 600, 5)
        clips = sum(1 for _ in decode_clips(path, info, windows))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert clips == 600 and peak < 2_000_000
