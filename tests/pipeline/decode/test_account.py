"""A video with fewer frames than its file promised says so, with numbers; a whole one never
does.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.decode.test_damage import mutate
from tests.pipeline.decode.test_scan import PLANNED, SEQUENTIAL
from tests.support.container_kinds import FRAMES, KINDS, draw_kinds
from tests.support.drawn_videos import Recipe, decode_plainly, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.ending import Ending, read_ending
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.rgb import Converter
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import frame_numbers, plan_clips
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import REASONS, VideoInfo

LIMITS = Limits()
SAID = {"incomplete", "damaged", "gaps"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_kinds(tmp_path_factory.mktemp("whole"))


def read(path: Path) -> VideoInfo:
    """What extract does with a file, up to its last clip."""

    def clips(info: VideoInfo) -> VideoInfo:
        for _ in decode_clips(path, info, plan_clips(info, 4, 5)):
            pass
        return info

    return with_fallback(path, LIMITS, clips)


def test_whole_files_of_every_kind_lack_nothing(whole: dict[str, Path], media: Path) -> None:
    for path in (*whole.values(), *sorted((media / "videos").iterdir())):
        for planned in (True, False):
            info = scan(path, LIMITS, planned=planned)
            assert info.promised == info.frames and not info.missing, (path.name, info.missing)
            assert not SAID & set(info.flags) and info.numbers is None
        assert not read_ending(path).cut and not read_ending(path).broken


@pytest.mark.parametrize("name", [*PLANNED, *SEQUENTIAL])
def test_no_way_of_encoding_looks_like_a_loss(name: str, tmp_path: Path) -> None:
    recipe = (PLANNED | SEQUENTIAL)[name]
    path = write_video(tmp_path / f"v{recipe.suffix}", recipe)
    for planned in (True, False):
        info = scan(path, LIMITS, planned=planned)
        assert info.promised == info.frames == recipe.frames and not info.missing


@pytest.mark.parametrize("kind", ["mkv", "webm", "vp9 webm", "gif", "flv", "wmv", "mpeg4 avi"])
def test_a_cut_file_says_how_many_are_missing(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    """Two thirds of the bytes: these containers declare how long they should be, but GIF."""
    data, path = whole[kind].read_bytes(), tmp_path / whole[kind].name
    path.write_bytes(data[: len(data) * 2 // 3])
    info = read(path)
    assert 10 < info.frames < FRAMES and "incomplete" in info.flags
    assert info.promised == FRAMES or (kind == "gif" and "at least" in info.missing)
    assert info.missing.startswith(f"{info.frames} of {info.promised} frames: ")


def test_the_half_drawn_last_picture_of_a_gif_is_left_out(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    data, path = whole["gif"].read_bytes(), tmp_path / "v.gif"
    path.write_bytes(data[: len(data) // 2])
    info = read(path)
    truth, pixels = decode_plainly(whole["gif"]), np.empty((info.height, info.width, 3), np.uint8)
    last = next(decode_clips(path, info, np.array([[info.frames - 1]]))).pixels[0]
    Converter(0).write(truth[info.frames - 1], pixels)
    assert np.array_equal(last, pixels)


def test_gaps_of_an_intact_recording_are_no_damage(tmp_path: Path) -> None:
    """A camera that dropped three pictures: Matroska counts none, so nobody knows; it is said."""
    ticks = (*range(60), *range(63, 100))
    path = write_video(tmp_path / "v.mkv", Recipe(suffix=".mkv", frames=97, ticks=ticks))
    info = read(path)
    assert info.frames == 97 and info.promised == 100 and info.numbers is None
    assert "gaps" in info.flags and not {"damaged", "incomplete"} & set(info.flags)
    assert info.missing == "97 of 100 frames: 3 missing between steady times"


def zero_packets(path: Path, recipe: Recipe, numbers: range) -> VideoInfo:
    """Overwrite the coded bytes of some packets of an mp4; its index goes on naming them."""
    import av

    write_video(path, recipe)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        spans = [(p.pos, p.size) for p in packets]
    data = bytearray(path.read_bytes())
    for number in numbers:
        at, size = spans[number]
        data[at : at + size] = bytes(size)
    path.write_bytes(bytes(data))
    return scan(path, LIMITS, planned=False)


ALL_INTRA = Recipe("libx264", frames=100, options={"x264-params": "keyint=1"})


def test_packets_that_give_no_frame_are_lost_and_the_rest_keeps_its_numbers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "v.mp4"
    info = zero_packets(path, ALL_INTRA, range(40, 43))
    assert info.frames == 97 and info.promised == 100
    assert {"damaged", "incomplete"} <= set(info.flags) and "3 lost" in info.missing
    assert info.numbers is not None and info.numbers.tolist() == [*range(40), *range(43, 100)]
    windows = plan_clips(info, 30, 5)
    numbers = frame_numbers(info, windows)
    assert (np.diff(numbers, axis=1) == 1).all(), "no clip bridges the hole"
    for clip, named in zip(decode_clips(path, info, windows), numbers, strict=True):
        for picture, number in zip(clip.pixels, named.tolist(), strict=True):
            bits = [picture[4, 10 * bit + 5].mean() > 128 for bit in range(12)]
            assert sum(1 << bit for bit, white in enumerate(bits) if white) == number


def test_more_than_a_twentieth_lost_is_corrupt_with_counts(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as caught:
        zero_packets(tmp_path / "v.mp4", ALL_INTRA, range(40, 47))
    assert caught.value.reason == "corrupt" and "7" in caught.value.detail


def with_duration_tag(path: Path, text: str) -> Path:
    """A Matroska file of five frames whose second DURATION tag, which counts, reads `text`."""

    def sized(name: bytes, content: bytes) -> bytes:
        return name + (len(content) | 1 << 56).to_bytes(8, "big") + content

    write_video(path, Recipe(suffix=".mkv", frames=5))
    data = path.read_bytes()
    uid = data[data.index(b"\x73\xc5") :][2:11]
    tag = sized(b"\x67\xc8", sized(b"\x45\xa3", b"DURATION") + sized(b"\x44\x87", text.encode()))
    target = sized(b"\x63\xc0", b"\x63\xc5" + uid)
    tags = sized(b"\x12\x54\xc3\x67", sized(b"\x73\x73", target + tag))
    at = data.index(b"\x18\x53\x80\x67") + 4
    size = int.from_bytes(data[at : at + 8], "big") + len(tags)
    start = data.index(b"\x1f\x43\xb6\x75")
    path.write_bytes(
        data[:at] + size.to_bytes(8, "big") + data[at + 8 : start] + tags + data[start:]
    )
    return path


@pytest.mark.parametrize(
    "text", ["9" * 400, "9" * 400 + ":00:00.0", "1:2:3", "00:00:1e400", "aa:bb:cc", "::", "²:00:00"]
)
def test_a_duration_tag_that_is_no_time_is_ignored(text: str, tmp_path: Path) -> None:
    info = scan(with_duration_tag(tmp_path / "v.mkv", text), LIMITS)
    assert info.frames == 5 and not info.missing


def test_a_duration_tag_that_is_a_time_is_a_promise(tmp_path: Path) -> None:
    info = scan(with_duration_tag(tmp_path / "v.mkv", "00:00:00.400000000"), LIMITS)
    assert info.missing == "5 of 10 frames: 5 missing at the end"


@pytest.mark.parametrize("size", [0, 1, 3, 8, 30, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_stubs_of_files_are_looked_at_without_a_fall(
    kind: str, size: int, whole: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / whole[kind].name
    path.write_bytes(whole[kind].read_bytes()[:size])
    assert isinstance(read_ending(path), Ending)


def silent(kind: str, seeds: range, whole: dict[str, Path], tmp_path: Path) -> Counter[str]:
    """Read mutated files; of those that are read with fewer frames none may be without a flag."""
    data, path, ways = whole[kind].read_bytes(), tmp_path / whole[kind].name, Counter()
    for seed in seeds:
        path.write_bytes(mutate(data, seed))
        try:
            info = read(path)
        except VideoError as error:
            assert error.reason in REASONS
            ways[error.reason] += 1
            continue
        if info.frames < FRAMES:
            assert SAID & set(info.flags) and info.missing, (kind, seed, info.frames, info.flags)
            ways["said"] += 1
        else:
            ways["all frames"] += 1
    return ways


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_with_fewer_frames_say_so(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    assert silent(kind, range(12), whole, tmp_path).total() == 12


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_mutated_files_with_fewer_frames_say_so(
    kind: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    """60 of each of the eighteen kinds; some of each come through with fewer frames."""
    ways = silent(kind, range(3000, 3060), whole, tmp_path)
    assert ways.total() == 60 and ways["said"] >= 1, ways
