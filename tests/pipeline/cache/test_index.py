"""The index of a cache folder: every record comes back, runs add to it, and other software is
named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.cached_folders import plant_cached
from unmask.pipeline.cache.index import (
    INDEX,
    crop_config,
    read_index,
    settings_in_cache,
    settings_of_key,
    write_index,
)
from unmask.pipeline.config import CropConfig
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import Video

SETTINGS = CropConfig().settings("r1")
HOSTILE = Path(os.fsdecode(b'/data/\xff\n"quote".mp4'))
FAKE = Video(
    "ffpp",
    "Deepfakes/c23/000_003",
    "Deepfakes-c23-000_003",
    HOSTILE,
    1,
    method="Deepfakes",
    pair="youtube/c23/000",
    mask=Path("/data/mask.mp4"),
    fake_spans=((0.5, 1.0),),
    pair_id="youtube-c23-000",
)
REAL = Video("ffpp", "youtube/c23/000", "youtube-c23-000", Path("/data/000.mp4"), 0)


def matches(name: str) -> Callable[[CropConfig], str]:
    """A machine that gives these reference values."""
    return lambda crop: name


def test_records_come_back_whole_even_with_hostile_names(tmp_path: Path) -> None:
    write_index(tmp_path, [FAKE, REAL], SETTINGS)
    index = read_index(tmp_path)
    assert index.videos == (FAKE, REAL) and not index.damaged
    assert crop_config(index.settings, matches("r1"), "cache/ffpp/key") == CropConfig()


def test_runs_add_to_it_and_equal_runs_leave_equal_bytes(tmp_path: Path) -> None:
    write_index(tmp_path, [REAL], SETTINGS)
    write_index(tmp_path, [FAKE], SETTINGS)
    once = (tmp_path / INDEX).read_bytes()
    write_index(tmp_path, [FAKE, REAL], SETTINGS)
    assert (tmp_path / INDEX).read_bytes() == once
    assert len(read_index(tmp_path).videos) == 2


def test_runs_that_write_it_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    videos = [
        replace(REAL, key=f"youtube/c23/{n:03}", video_id=f"youtube-c23-{n:03}") for n in range(64)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda video: write_index(tmp_path, [video], SETTINGS), videos))
    assert read_index(tmp_path).videos == tuple(videos)


def test_another_machine_or_other_software_is_refused_by_name() -> None:
    with pytest.raises(CacheError, match="reference r1 there, x0123abcd here"):
        crop_config(SETTINGS, matches("x0123abcd"), "cache/ffpp/key")
    before = {**CropConfig().settings(), "libraries": {"av": "14.0"}}
    with pytest.raises(CacheError, match="libraries"):
        crop_config(before, matches("r1"), "cache/ffpp/key")
    with pytest.raises(CacheError, match="format 2 there"):
        crop_config({**SETTINGS, "format": 2}, matches("r1"), "cache/ffpp/key")


@pytest.mark.parametrize("text", [None, "", "{}", '{"videos": [1], "settings": {}}'])
def test_an_unreadable_index_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / INDEX).write_text(text)
    with pytest.raises(CacheError, match="run extract again"):
        read_index(tmp_path)


THIRD = replace(REAL, key="youtube/c23/001", video_id="youtube-c23-001")


NAME = b'"video_id": "youtube-c23-000"'


def damage(data: bytes, how: str) -> bytes:
    """The index of FAKE, REAL and THIRD with something wrong in the row of REAL."""
    row = next(line for line in data.split(b"\n") if NAME in line)
    changed = {
        "type": row.replace(b'"label": 0', b'"label": "0"'),
        "byte": row.replace(b'"label"', b'"lab\xff"'),
        "bracket": row.replace(b"{", b"", 1),
        "deep": row.replace(b'"label": 0', b'"label": ' + b"[" * 5000 + b"]" * 5000),
        "path outside": row.replace(NAME, b'"video_id": "../youtube"'),
        "another's name": row.replace(NAME, b'"video_id": "Deepfakes-c23-000_003"'),
    }[how]
    assert changed != row
    return data.replace(row, changed)


@pytest.mark.parametrize(
    "how", ["type", "byte", "bracket", "deep", "path outside", "another's name"]
)
def test_a_damaged_row_costs_that_row_and_is_named(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_index(tmp_path, [FAKE, REAL, THIRD], SETTINGS)
    whole = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(damage(whole, how))
    index = read_index(tmp_path)
    assert index.videos == (FAKE, THIRD) and index.settings == SETTINGS
    assert len(index.damaged) == 1 and str(tmp_path / INDEX) in index.damaged[0]
    assert settings_of_key(tmp_path) == SETTINGS
    write_index(tmp_path, [REAL], SETTINGS)
    assert (tmp_path / INDEX).read_bytes() == whole and "left out" in caplog.text


def test_a_cut_index_keeps_the_rows_before_the_cut(tmp_path: Path) -> None:
    write_index(tmp_path, [FAKE, REAL, THIRD], SETTINGS)
    whole = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(whole[:-100])
    index = read_index(tmp_path)
    assert index.videos == (FAKE, REAL) and index.settings == SETTINGS
    assert "ends early" in index.damaged[0] and len(index.damaged) == 2
    (tmp_path / INDEX).write_bytes(whole.replace(b",\n{", b",{"))  # lines that run together
    assert read_index(tmp_path).videos == (FAKE, REAL, THIRD)


@pytest.mark.parametrize("cut", [0, 1], ids=["as JSON", "line by line"])
def test_damaged_settings_cost_no_row_and_are_asked_of_the_videos(tmp_path: Path, cut: int) -> None:
    write_index(tmp_path, [FAKE, REAL], SETTINGS)
    data = (tmp_path / INDEX).read_bytes().replace(b'{"settings": {', b'{"settinks": {')
    (tmp_path / INDEX).write_bytes(data[cut:])
    plant_cached(tmp_path, "bbb", settings=SETTINGS)
    index = read_index(tmp_path)
    assert index.videos == (FAKE, REAL) and index.settings == {}
    assert index.damaged == (f"{tmp_path / INDEX}: damaged: no settings",)
    assert settings_of_key(tmp_path) == SETTINGS


def test_the_settings_of_a_key_stand_in_its_index_whatever_lies_first_in_the_folder(
    tmp_path: Path,
) -> None:
    crop = CropConfig(clips=4, margin=1.5)
    parent = tmp_path / "cache" / "ffpp" / "4x5-240px-0123456789ab"
    for name in (".lock", ".outcomes", ".tmp-a-1-00000000", "aaa"):
        (parent / name).mkdir(parents=True)
    write_index(parent, [REAL], crop.settings("r1"))
    assert settings_of_key(parent) == crop.settings("r1")
    assert settings_in_cache(tmp_path / "cache", parent.name) == crop.settings("r1")
    assert settings_in_cache(tmp_path / "cache", "another-key") == {}
    assert settings_in_cache(tmp_path / "cache" / "ffpp", "../../ffpp") == {}


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_without_an_index_any_video_that_knows_its_settings_answers(
    tmp_path: Path, damage: str
) -> None:
    (tmp_path / ".outcomes").mkdir()
    (tmp_path / "aaa").mkdir()
    (tmp_path / "aaa" / "zarr.json").write_text("damaged")
    settings = CropConfig(size=224).settings()
    plant_cached(tmp_path, "bbb", settings=settings)
    if damage == "cut":
        write_index(tmp_path, [REAL], SETTINGS)
        (tmp_path / INDEX).write_bytes((tmp_path / INDEX).read_bytes()[:90])
    assert settings_of_key(tmp_path) == settings
    assert settings_of_key(tmp_path / "nowhere") == {}


def test_only_settings_that_differ_are_named_with_both_values() -> None:
    here, there = CropConfig(), CropConfig(margin=1.5, codec="compact")
    assert CropConfig.differing(there.settings(), here.settings()) == {
        "codec": ("compact", "zstd"),
        "margin": (1.5, 1.3),
    }
    assert CropConfig.differing({"a": 1}, {}) == {"a": (1, None)}


def test_the_key_changes_with_every_setting_that_decides_pixels() -> None:
    base = CropConfig()
    others = [
        CropConfig(clips=8),
        CropConfig(frames=4),
        CropConfig(size=224),
        CropConfig(margin=1.2),
        CropConfig(detector="stock"),
        CropConfig(detect_size=0),
        CropConfig(min_face=20),
        CropConfig(candidates=32),
        CropConfig(faces="all"),
        CropConfig(bands=False),
        CropConfig(codec="compact"),
        CropConfig(pair_boxes=True),
    ]
    keys = {config.cache_key("r1") for config in (base, *others)}
    assert len(keys) == 1 + len(others)
    assert base.cache_key("r1") == CropConfig().cache_key("r1") != base.cache_key("r2")
