"""Many videos, one parent: its memory and its open files stay where they were, and nothing
temporary is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction import run
from unmask.pipeline.machine import worker_pool
from unmask.pipeline.records import Outcome, Video

CONFIG = ExtractConfig(crop=CropConfig(clips=2, frames=3, size=64), jobs=2)
GROWTH = 50 * 1024 * 1024


@pytest.fixture(autouse=True)
def own_workers() -> Iterator[None]:
    """Workers of this test alone: others' would be counted as open files."""
    worker_pool.stop_workers()
    yield
    worker_pool.stop_workers()


def plant(folder: Path, count: int) -> list[Video]:
    """Tiny videos; every tenth shows nobody, every tenth is cut short, so that refusals are soaked
    too.
    """
    kinds = [folder / f"{kind}.mp4" for kind in ("face", "nobody", "broken")]
    faces = [
        picture for picture, _ in draw_frames(draw_identity(3), 12, (160, 120), seed=3, face=0.7)
    ]
    encode_video(kinds[0], faces)
    encode_video(kinds[1], [picture * 0 for picture in faces])
    kinds[2].write_bytes(kinds[0].read_bytes()[:300])
    videos = []
    for number in range(count):
        path = folder / f"v{number:04}.mp4"
        path.hardlink_to(kinds[{0: 1, 1: 2}.get(number % 10, 0)])
        videos.append(Video("tiny", path.stem, path.stem, path, number % 2))
    return videos


def soak(tmp_path: Path, count: int, figure: Callable[[str, str], None]) -> None:
    videos = plant(tmp_path / "videos", count)
    process = psutil.Process()
    warm = count // 4
    run.extract(videos[:warm], CONFIG, tmp_path / "warm")
    memory, files = process.memory_info().rss, process.num_fds()
    most_files: list[int] = []

    def progress(_: Outcome) -> None:
        most_files.append(process.num_fds())

    ended = run.extract(videos, CONFIG, tmp_path / "cache", progress)
    grown = process.memory_info().rss - memory
    more = process.num_fds() - files
    figure(
        "soak",
        f"{count:,} videos: parent grew by {grown / 2**20:.1f} MiB, {more} more open files at "
        "the end",
    )
    assert grown < GROWTH
    # The run itself holds the lock of the cache and the folder of notes.
    assert max(most_files) <= files + 4 and process.num_fds() <= files + 1
    reasons = [outcome.reason for outcome in ended]
    assert reasons.count("no_face") == reasons.count("truncated") == count // 10
    assert reasons.count("") == count - 2 * (count // 10)
    left = [
        name for _, folders, files in os.walk(tmp_path / "cache") for name in (*folders, *files)
    ]
    assert not [name for name in left if name.startswith(".tmp-")]
    assert run.extract(videos, CONFIG, tmp_path / "cache") == ended


def test_forty_videos_leave_the_parent_as_it_was(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    soak(tmp_path, 40, figure)


@pytest.mark.slow
def test_two_thousand_videos_leave_the_parent_as_it_was(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    soak(tmp_path, 2000, figure)
