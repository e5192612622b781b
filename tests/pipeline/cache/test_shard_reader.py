"""The own shard reader gives what zarr-python gives, into any buffer, from any thread, and refuses
what it must.
"""

from __future__ import annotations

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from numcodecs import zstd
from zarr.codecs import ZstdCodec

from tests.support.small_videos import commit, pictures
from unmask.pipeline.cache.codecs import CODECS, codec_of
from unmask.pipeline.cache.shard_reader import Shard
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.errors import CacheError

SHARD = "crops/c.0.0.0.0.0"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("clips", "frames", "side"), [(1, 1, 16), (3, 2, 33), (9, 5, 48)])
def test_it_reads_what_zarr_python_reads(
    tmp_path: Path, codec: str, clips: int, frames: int, side: int
) -> None:
    folder = commit(tmp_path, pixels=pictures(4, clips, frames, side), codec=codec)
    theirs = zarr.open_group(folder, mode="r")["crops"]
    ours = open_video(folder)
    for clip in range(clips):
        np.testing.assert_array_equal(ours.read_crops([clip])[0], theirs[clip])


@pytest.mark.parametrize("codec", CODECS)
def test_it_fills_any_buffer_and_nothing_beside_it(tmp_path: Path, codec: str) -> None:
    pixels = pictures()
    video = open_video(commit(tmp_path, pixels=pixels, codec=codec))
    wide = np.full((5, 2, 40, 40, 3), 77, np.uint8)
    planar = np.zeros((3, 2, 3, 32, 32), np.uint8).transpose(0, 1, 3, 4, 2)
    for out in (video.empty(3), np.zeros_like(pixels), planar, wide[1:4, :, 4:36, 4:36]):
        assert video.read_crops([0, 1, 2], out=out) is out
        np.testing.assert_array_equal(out, pixels)
    wide[1:4, :, 4:36, 4:36] = 77
    assert (wide == 77).all()
    for bad in (
        np.zeros((3, 2, 32, 32, 3), np.int8),
        np.zeros((3, 2, 32, 31, 3), np.uint8),
        video.empty(2),
    ):
        with pytest.raises(ValueError, match=r"expected room|do not fit"):
            video.read_crops([0, 1, 2], out=bad)


def test_the_given_buffer_is_filled_without_a_copy_in_its_own_layout(tmp_path: Path) -> None:
    for codec in CODECS:
        video = open_video(commit(tmp_path, codec, codec=codec))
        room = video.empty(4)
        assert room.shape == (4, 2, 32, 32, 3)
        stored = room[0].transpose(1, 0, 3, 2) if codec == "compact" else room[0]
        assert stored.flags.c_contiguous


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_batch_keeps_its_order_over_videos_and_threads(tmp_path: Path, threads: int) -> None:
    pixels = [pictures(seed) for seed in range(4)]
    videos = [
        open_video(commit(tmp_path, f"v{i}", pixels=p, codec=list(CODECS)[i % 3]))
        for i, p in enumerate(pixels)
    ]
    rng = np.random.default_rng(0)
    for count in (1, 2, 23):
        chosen = rng.integers(0, 3, (count, 2))
        batch = videos[0].empty(count)
        with ThreadPoolExecutor(threads) as pool:
            rows = ((videos[v], int(c), row) for (v, c), row in zip(chosen, batch, strict=True))
            list(pool.map(lambda one: one[0].read_clip(one[1], one[2]), rows))
        np.testing.assert_array_equal(batch, [pixels[v][c] for v, c in chosen])


def test_a_clip_of_a_damaged_video_is_refused_by_name(tmp_path: Path) -> None:
    bad = open_video(commit(tmp_path, "bad"))
    (bad.folder / SHARD).unlink()
    with pytest.raises(CacheError, match="bad"):
        bad.read_clip(2, bad.empty(1)[0])


def test_many_threads_share_one_video(tmp_path: Path) -> None:
    pixels = pictures(clips=8)
    for codec in CODECS:
        video = open_video(commit(tmp_path, codec, pixels=pixels, codec=codec))
        with ThreadPoolExecutor(8) as pool:
            for clip, got in pool.map(
                lambda n, v=video: (n % 8, v.read_crops([n % 8])[0]), range(200)
            ):
                np.testing.assert_array_equal(got, pixels[clip])


def test_more_uncompressed_videos_than_files_may_be_open_are_read_all_the_same(
    tmp_path: Path,
) -> None:
    pixels = pictures()
    videos = [open_video(commit(tmp_path, f"v{n}", pixels=pixels, codec="none")) for n in range(40)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        for _ in range(3):
            for video in videos:
                np.testing.assert_array_equal(video.read_crops([0, 2]), pixels[[0, 2]])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    video = open_video(commit(tmp_path))
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        video.read_crops([0, 1, 2])
    assert os.listdir("/proc/self/fd") == before


def _with_index(chunks: list[bytes], places: list[tuple[int, int]] | None = None) -> bytes:
    """A shard of these chunks with an honest checksum over whatever index it is given."""
    offsets = np.cumsum([0, *map(len, chunks)])[:-1]
    places = places or [(int(o), len(c)) for o, c in zip(offsets, chunks, strict=True)]
    index = np.array(places, "<u8").tobytes()
    return b"".join(chunks) + index + google_crc32c.value(index).to_bytes(4, "little")


def _shard(path: Path, data: bytes, shape: tuple[int, ...], codec: str = "zstd") -> Shard:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return Shard(path, shape, np.dtype("uint8"), codec_of("masks", codec), len(data))


FAR = 2**64 - 1


@pytest.mark.parametrize(
    "places",
    [
        [(FAR, FAR), (0, 9)],
        [(0, FAR), (0, 9)],
        [(0, 0), (0, 9)],
        [(2**63, 9), (0, 9)],
        [(0, 9), (10**6, 9)],
    ],
)
def test_an_index_that_points_nowhere_is_refused_where_zarr_python_gives_black(
    tmp_path: Path, places
) -> None:
    chunk = zstd.compress(bytes(range(64)), 1, True)
    shard = _shard(tmp_path / "v" / "c.0.0", _with_index([chunk, chunk], places), (2, 64))
    with pytest.raises(CacheError, match=r"missing|outside"):
        shard.read(0, np.zeros(64, np.uint8))


def test_frames_that_are_not_one_checksummed_clip_are_refused(tmp_path: Path) -> None:
    plain = bytes(range(64))
    good = zstd.compress(plain, 1, True)
    out = np.zeros(64, np.uint8)
    _shard(tmp_path / "v" / "good", _with_index([good]), (1, 64)).read(0, out)
    assert out.tobytes() == plain
    forged = {
        "no checksum": zstd.compress(plain, 1, False),
        "shorter": zstd.compress(plain[:32], 1, True),
        "longer": zstd.compress(plain * 2, 1, True),
        "a bomb": zstd.compress(bytes(2**24), 1, True),
        "two frames": good + good,
        "no frame": b"x" * 40,
        "tiny": b"\x28\xb5",
        "wrong sum": good[:-1] + bytes([good[-1] ^ 1]),
    }
    for name, chunk in forged.items():
        with pytest.raises(CacheError, match="damaged"):
            _shard(tmp_path / "v" / name, _with_index([chunk]), (1, 64)).read(0, out)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_791, 65_792, 864_000])
@pytest.mark.parametrize("level", [-1, 1, 9])
def test_frames_of_every_header_size_are_read(tmp_path: Path, size: int, level: int) -> None:
    plain = np.random.default_rng(size).integers(0, 9, size).astype(np.uint8)
    out = np.zeros(size, np.uint8)
    _shard(tmp_path / "v" / "c", _with_index([zstd.compress(plain, level, True)]), (1, size)).read(
        0, out
    )
    np.testing.assert_array_equal(out, plain)


def test_zarr_itself_reads_a_missing_shard_as_black_which_is_why_we_do_not(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "z",
        shape=(2, 8),
        chunks=(1, 8),
        shards=(2, 8),
        dtype="uint8",
        compressors=[ZstdCodec(level=1)],
    )
    array[:] = 9
    (tmp_path / "z" / "c" / "0" / "0").unlink()
    assert not zarr.open_array(tmp_path / "z", mode="r")[:].any()
