"""Damaged files end in the frames a plain decode gives, or in a reason; never in other frames,
never in a crash.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, decode_plainly, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.planned import PlanBroken
from unmask.pipeline.decode.rgb import Converter
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import spread_clips
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import REASONS, VideoInfo

LIMITS = Limits()
FRAMES = 60
GROUPS = {"x264-params": "keyint=12:min-keyint=12:scenecut=0"}
KINDS = {
    "mp4": Recipe(options=GROUPS),
    "faststart": Recipe(options=GROUPS, muxer={"movflags": "faststart"}),
    "fragmented": Recipe(options=GROUPS, muxer={"movflags": "frag_keyframe+empty_moov"}),
    "mkv": Recipe(suffix=".mkv", options=GROUPS),
    "avi": Recipe("mpeg4", ".avi", options={"g": "12"}),
    "ts": Recipe(suffix=".ts", options=GROUPS),
    "webm": Recipe(
        "libvpx-vp9", ".webm", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: write_video(folder / f"{name}{recipe.suffix}", recipe)
        for name, recipe in KINDS.items()
    }


def plain_frames(path: Path, info: VideoInfo) -> tuple[list[float | None], list[np.ndarray]]:
    converter, seconds, pictures = Converter(info.rotation), [], []
    for frame in decode_plainly(path):
        seconds.append(None if frame.pts is None else float(frame.pts * frame.time_base))
        pictures.append(np.empty((info.height, info.width, 3), np.uint8))
        converter.write(frame, pictures[-1])
    return seconds, pictures


def read(path: Path) -> tuple[VideoInfo, list[np.ndarray], bool]:
    """What extract does with one video: spread clips, once more sequentially if the plan breaks."""
    info = scan(path, LIMITS)
    windows = spread_clips(info.frames, 4, 5, info.flags)
    try:
        return info, [clip.pixels for clip in decode_clips(path, info, windows)], False
    except PlanBroken as broken:
        info = scan(path, LIMITS, planned=False, guard=str(broken))
        windows = spread_clips(info.frames, 4, 5, info.flags)
        return info, [clip.pixels for clip in decode_clips(path, info, windows)], True


def assert_plain(path: Path, info: VideoInfo, clips: list[np.ndarray]) -> list[np.ndarray]:
    """Every frame equals a plain decode's: by its time when planned, by its place when everything
    was counted.
    """
    seconds, truth = plain_frames(path, info)
    places = {round(time, 6): place for place, time in enumerate(seconds) if time is not None}
    if info.method == "sequential":
        assert len(truth) == info.frames
    for window, pixels in zip(spread_clips(info.frames, 4, 5), clips, strict=True):
        for number, picture in zip(window, pixels, strict=True):
            place = number if info.method == "sequential" else places[round(info.pts[number], 6)]
            assert np.array_equal(picture, truth[place])
    return truth


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mp4"])
def test_a_cut_file_gives_its_first_frames_or_a_reason(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    data, path = whole[kind].read_bytes(), tmp_path / whole[kind].name
    complete = plain_frames(whole[kind], scan(whole[kind], LIMITS))[1]
    kept = []
    for tenth in range(10):
        # Odd, because a transport stream cut exactly between two packets looks whole.
        path.write_bytes(data[: len(data) * (2 * tenth + 1) // 20 | 1])
        try:
            info, clips, _ = read(path)
        except VideoError as error:
            assert error.reason in ("truncated", "corrupt"), error
            assert error.reason == "truncated" or tenth == 0
            continue
        kept.append(info.frames)
        truth = assert_plain(path, info, clips)
        assert info.frames <= FRAMES
        # The frame whose bytes were cut, and what refers to it, may be patched up by the decoder.
        assert all(
            np.array_equal(one, other) for one, other in zip(truth[:-5], complete, strict=False)
        )
        if info.frames < FRAMES - 3:
            assert "incomplete" in info.flags
    assert len(kept) >= 5 and kept == sorted(kept)


def test_an_mp4_cut_before_its_index_is_truncated(whole: dict[str, Path], tmp_path: Path) -> None:
    data, path = whole["mp4"].read_bytes(), tmp_path / "v.mp4"
    for tenth in range(1, 10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(VideoError) as caught:
            scan(path, LIMITS)
        assert caught.value.reason == "truncated" and "v.mp4" in str(caught.value)


def test_too_few_frames_of_a_cut_file_are_truncated_not_short(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    data = whole["mkv"].read_bytes()
    path = tmp_path / "v.mkv"
    path.write_bytes(data[: len(data) // 4])
    info = scan(path, LIMITS)
    assert 0 < info.frames < 30 and "incomplete" in info.flags
    with pytest.raises(VideoError) as caught:
        spread_clips(info.frames, 1, 40, info.flags)
    assert caught.value.reason == "truncated"


def test_whole_files_are_never_called_incomplete(whole: dict[str, Path], media: Path) -> None:
    for path in (*whole.values(), *(media / "videos").iterdir()):
        for planned in (True, False):
            flags = scan(path, LIMITS, planned=planned).flags
            assert not {"incomplete", "damaged", "times_from_rate"} & set(flags), path.name


def flip(data: bytes, seed: int, count: int, first: int = 0) -> bytes:
    random = np.random.default_rng(seed)
    damaged = bytearray(data)
    for at in random.integers(first, len(data), count):
        damaged[at] ^= int(random.integers(1, 256))
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["faststart", "mkv", "ts"])
def test_flipped_bytes_never_change_a_planned_result(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    """Guards fire on some of them; whatever comes out equals a plain decode of the same damaged
    file.
    """
    data, path = whole[kind].read_bytes(), tmp_path / whole[kind].name
    ways = Counter()
    for seed in range(12):
        path.write_bytes(flip(data, seed, 1 + seed % 4, len(data) // 10))
        try:
            info, clips, broke = read(path)
        except VideoError as error:
            ways[error.reason] += 1
            continue
        assert_plain(path, info, clips)
        ways["broke" if broke else info.method] += 1
    assert ways["broke"] + ways["sequential"] >= 1, f"no guard fired at all: {ways}"


def blank_pictures(path: Path, numbers: range) -> None:
    """Write an MJPEG AVI and overwrite whole pictures of it with zeros, which no decoder can
    read.
    """
    data = bytearray(
        write_video(path, Recipe("mjpeg", ".avi", "yuvj420p", frames=FRAMES)).read_bytes()
    )
    starts = [at for at in range(len(data) - 4) if data[at : at + 4] == b"\xff\xd8\xff\xfe"]
    assert len(starts) == FRAMES
    for number in numbers:
        data[starts[number] : starts[number + 1] - 8] = bytes(
            starts[number + 1] - 8 - starts[number]
        )
    path.write_bytes(bytes(data))


def test_one_damaged_packet_is_stepped_over_and_told(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    blank_pictures(path, range(30, 31))
    info = scan(path, LIMITS, planned=False)
    assert info.frames == FRAMES - 1 and {"damaged", "incomplete"} <= set(info.flags)
    with pytest.raises(PlanBroken):
        list(decode_clips(path, scan(path, LIMITS), np.array([[28, 29, 30, 31]])))
    assert [
        clip.index.tolist() for clip in decode_clips(path, info, np.array([[28, 29, 30, 31]]))
    ] == [[28, 29, 30, 31]]


def test_too_many_damaged_packets_are_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    blank_pictures(path, range(10, 14))
    with pytest.raises(VideoError, match="4 of 60 packets") as caught:
        scan(path, LIMITS, planned=False)
    assert caught.value.reason == "corrupt"
    assert scan(path, Limits(max_bad_packets=0.1), planned=False).frames == FRAMES - 4


def mutate(data: bytes, seed: int) -> bytes:
    """One seeded damage: flipped bytes anywhere or in the header, a cut, a hole, a repeated or
    foreign stretch.
    """
    random = np.random.default_rng(seed)
    at = int(random.integers(0, len(data)))
    length = int(random.integers(1, max(2, len(data) // 10)))
    way = seed % 6
    if way == 0:
        return flip(data, seed, int(random.integers(1, 30)))
    if way == 1:
        return flip(data[:600], seed, int(random.integers(1, 8))) + data[600:]
    if way == 2:
        return data[:at]
    if way == 3:
        return data[:at] + data[at + length :]
    if way == 4:
        return data[: at + length] + data[at:]
    return data[:at] + random.bytes(length) + data[at + length :]


FUZZED = ("faststart", "fragmented", "mkv", "avi", "ts")


def fuzz(kind: str, seeds: range, whole: dict[str, Path], tmp_path: Path) -> Counter:
    """Read mutated files; every one must be classified, and what is read must equal a plain
    decode.
    """
    data, path, ways = whole[kind].read_bytes(), tmp_path / whole[kind].name, Counter()
    for seed in seeds:
        path.write_bytes(mutate(data, seed))
        try:
            info, clips, _ = read(path)
        except VideoError as error:
            assert error.reason in REASONS
            ways[error.reason] += 1
            continue
        ways[info.method] += 1
        assert_plain(path, info, clips)
    return ways


@pytest.mark.parametrize("kind", FUZZED)
def test_mutated_files_end_in_frames_or_reasons(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    ways = fuzz(kind, range(12), whole, tmp_path)
    assert ways.total() == 12


@pytest.mark.slow
@pytest.mark.parametrize("kind", FUZZED)
def test_many_mutated_files_end_in_frames_or_reasons(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    ways = fuzz(kind, range(1000, 1100), whole, tmp_path)
    assert ways.total() == 100 and len(ways) >= 2, ways
