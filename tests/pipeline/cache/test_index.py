"""The index of a cache folder: every record comes back, runs add to it, and other software is
named.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from unmask.pipeline.cache.index import INDEX, crop_config, read_index, write_index
from unmask.pipeline.config import CropConfig
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import Video

HOSTILE = Path(os.fsdecode(b'/data/\xff\n"quote".mp4'))
FAKE = Video(
    "ffpp", "Deepfakes/c23/000_003", "Deepfakes-c23-000_003", HOSTILE, 1, method="Deepfakes", pair="youtube/c23/000",  # noqa: E501
    mask=Path("/data/mask.mp4"), fake_spans=((0.5, 1.0),), pair_id="youtube-c23-000",
)  # fmt: skip
REAL = Video("ffpp", "youtube/c23/000", "youtube-c23-000", Path("/data/000.mp4"), 0)


def test_records_come_back_whole_even_with_hostile_names(tmp_path: Path) -> None:
    write_index(tmp_path, [FAKE, REAL], CropConfig())
    videos, settings = read_index(tmp_path)
    assert videos == [FAKE, REAL]
    assert crop_config(settings) == CropConfig()


def test_runs_add_to_it_and_equal_runs_leave_equal_bytes(tmp_path: Path) -> None:
    write_index(tmp_path, [REAL], CropConfig())
    write_index(tmp_path, [FAKE], CropConfig())
    once = (tmp_path / INDEX).read_bytes()
    write_index(tmp_path, [FAKE, REAL], CropConfig())
    assert (tmp_path / INDEX).read_bytes() == once
    assert len(read_index(tmp_path)[0]) == 2


def test_runs_that_write_it_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    videos = [
        replace(REAL, key=f"youtube/c23/{n:03}", video_id=f"youtube-c23-{n:03}") for n in range(64)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda video: write_index(tmp_path, [video], CropConfig()), videos))
    assert read_index(tmp_path)[0] == videos


def test_other_software_is_refused_by_name(tmp_path: Path) -> None:
    settings = json.loads(json.dumps(CropConfig().settings()))
    settings["libraries"]["av"] = "1.0"
    with pytest.raises(CacheError, match="libraries"):
        crop_config(settings)


@pytest.mark.parametrize("text", [None, "", "{}", '{"videos": [1], "settings": {}}'])
def test_an_unreadable_index_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / INDEX).write_text(text)
    with pytest.raises(CacheError, match="run extract again"):
        read_index(tmp_path)


def test_the_key_changes_with_every_setting_that_decides_pixels() -> None:
    base = CropConfig()
    others = [
        CropConfig(clips=8), CropConfig(frames=4), CropConfig(size=224), CropConfig(margin=1.2),
        CropConfig(detector="stock"), CropConfig(detect_size=0), CropConfig(min_face=20), CropConfig(candidates=32),  # noqa: E501
        CropConfig(faces="all"), CropConfig(bands=False), CropConfig(codec="compact"), CropConfig(pair_boxes=True),  # noqa: E501
    ]  # fmt: skip
    keys = {config.cache_key() for config in (base, *others)}
    assert len(keys) == 1 + len(others)
    assert base.cache_key() == CropConfig().cache_key()
