"""Mutated videos through the whole extract with real workers: every one ends in crops or in a
reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.forks import leftovers
from tests.pipeline.decode.test_damage import mutate
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.config import CropConfig, ExtractConfig, Limits
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction import run
from unmask.pipeline.records import REASONS, Video

CROP = CropConfig(clips=2, frames=2, size=48, bands=False)
CONFIG = ExtractConfig(crop=CROP, jobs=2, limits=Limits(seconds=60))

# suffix -> encoder; the ways a video is packed differ more than the codecs do
CONTAINERS = {
    ".mp4": "libx264",
    ".mov": "mpeg4",
    ".mkv": "libx264",
    ".avi": "mpeg4",
    ".ts": "libx264",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One short drawn face in five containers."""
    folder = tmp_path_factory.mktemp("faces")
    pictures = [
        picture for picture, _ in draw_frames(draw_identity(7001), 12, (240, 180), 7001, face=0.6)
    ]
    for suffix, codec in CONTAINERS.items():
        encode_video(folder / f"v{suffix}", pictures, codec=codec, keyint=4)
    return {suffix: (folder / f"v{suffix}").read_bytes() for suffix in CONTAINERS}


def fuzz(faces: dict[str, bytes], seeds: range, tmp_path: Path) -> Counter[str]:
    """How many videos ended in which way; every committed one is verified."""
    videos = []
    for seed in seeds:
        for suffix, data in faces.items():
            path = tmp_path / f"{seed}{suffix}"
            path.write_bytes(mutate(data, seed))
            name = f"v{seed}-{suffix[1:]}"
            videos.append(Video("fuzz", name, name, path, 0))
    ended = run.extract(videos, CONFIG, tmp_path / "cache")
    parent = run.cache_folder(tmp_path / "cache", "fuzz", CROP)
    assert [o.video_id for o in ended] == [v.video_id for v in videos], "one outcome per video"
    for outcome in ended:
        assert (outcome.status == "ok") != (outcome.reason in REASONS)
        assert (parent / outcome.video_id).exists() == (outcome.status == "ok")
        if outcome.status == "ok":
            assert not verify_video(parent / outcome.video_id)
    assert not leftovers(tmp_path)
    for video in videos:
        video.path.unlink()
    return Counter(outcome.reason or "ok" for outcome in ended)


def judge(ways: Counter[str], figure: Callable[[str, str], None]) -> None:
    told = ", ".join(f"{reason} {count}" for reason, count in ways.most_common())
    figure(
        "mutated videos",
        f"{ways.total():,} in {len(CONTAINERS)} containers, the run came through: {told}",
    )
    assert not {"internal_error", "decoder_crash", "timeout"} & ways.keys(), ways
    assert ways["ok"] > 0.1 * ways.total() and len(ways) >= 4, (
        "mutations that leave nothing to find are no test"
    )


def test_mutated_videos_end_in_crops_or_reasons(
    faces: dict[str, bytes], tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    judge(fuzz(faces, range(40), tmp_path), figure)


@pytest.mark.slow
def test_ten_thousand_mutated_videos_end_in_crops_or_reasons(
    faces: dict[str, bytes], tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    ways: Counter[str] = Counter()
    for first in range(10_000, 12_000, 200):
        work = tmp_path / str(first)
        work.mkdir()
        ways += fuzz(faces, range(first, first + 200), work)
    judge(ways, figure)
