"""What makes a folder finished: everything that could change its bytes, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.faults.forks import in_this_process
from tests.support.pictures_of import save_pictures
from unmask.pipeline.cache.video import open_video, verify_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction import dispatch, one_video, resume, run
from unmask.pipeline.extraction.publish import publish
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.dataset import Dataset

CROP = CropConfig(clips=2, frames=2, size=48, bands=False, pair_boxes=True)
CONFIG = ExtractConfig(crop=CROP, jobs=1)


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ids of the videos that were worked on, in this process."""
    names: list[str] = []

    def counted(videos, config, parent) -> Iterator[Outcome]:
        names.extend(video.video_id for video in videos)
        return in_this_process(videos, config, parent)

    monkeypatch.setattr(dispatch, "dispatch", counted)
    yield names


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two drawn people as videos of one size in bytes."""
    root = tmp_path_factory.mktemp("clips")
    paths = {}
    for name, seed in (("one", 5), ("two", 12)):
        paths[name] = root / f"{name}.mp4"
        drawn = draw_frames(draw_identity(seed), 8, (160, 120), seed)
        encode_video(paths[name], [picture for picture, _ in drawn])
    size = 8 + max(path.stat().st_size for path in paths.values())
    for path in paths.values():
        room = size - path.stat().st_size
        with open(path, "ab") as file:  # players pass over a `free` box
            file.write(room.to_bytes(4, "big") + b"free" + bytes(room - 8))
    return paths


def record(path: Path, name: str, pair: str | None = None, **facts: object) -> Video:
    return Video("again", name, name, path, int(pair is not None), pair=pair, group="g", **facts)


def extract(cache: Path, *videos: Video, config: ExtractConfig = CONFIG) -> dict[str, Outcome]:
    return {outcome.video_id: outcome for outcome in run.extract(videos, config, cache)}


def attributes(cache: Path, name: str) -> dict:
    return open_video(run.cache_folder(cache, "again", CROP) / name).attributes


def test_a_fake_cut_before_its_original_was_readable_is_cut_again_at_its_boxes(
    clips: dict[str, Path], tmp_path: Path, made: list[str]
) -> None:
    real, fake = tmp_path / "real.mp4", tmp_path / "fake.mp4"
    shutil.copy(clips["one"], fake)
    real.write_bytes(clips["one"].read_bytes()[:200])
    videos = record(real, "real"), record(fake, "fake", "real")
    assert extract(tmp_path / "cache", *videos)["fake"].flags == ("own_boxes",)
    shutil.copy(clips["one"], real)
    ended = extract(tmp_path / "cache", *videos)
    assert ended["real"].status == "ok" and ended["fake"].flags == ()
    assert attributes(tmp_path / "cache", "fake")["origin"]
    # replaced by somebody else, then broken: the fake is looked at anew each time
    shutil.copy(clips["two"], real)
    extract(tmp_path / "cache", *videos)
    fresh = extract(tmp_path / "fresh", *videos)
    again, truth = (attributes(tmp_path / name, "fake") for name in ("cache", "fresh"))
    assert again == truth and fresh["fake"].status == "ok"
    real.write_bytes(b"broken")
    assert extract(tmp_path / "cache", *videos)["fake"].flags == ("own_boxes",)
    assert not (run.cache_folder(tmp_path / "cache", "again", CROP) / "real").exists()
    made.clear()
    extract(tmp_path / "cache", *videos)
    assert made == []


def test_pictures_in_another_order_are_another_video(tmp_path: Path, made: list[str]) -> None:
    drawn = [picture for picture, _ in draw_frames(draw_identity(5), 8, (160, 120), 5)]
    folder = save_pictures(tmp_path / "p", {f"{n:02d}.png": p for n, p in enumerate(drawn)})
    extract(tmp_path / "cache", record(folder, "p"))
    parent = run.cache_folder(tmp_path / "cache", "again", CROP)
    before = open_video(parent / "p").read_crops([0])
    for number in range(8):
        os.rename(folder / f"{number:02d}.png", folder / f"new{7 - number:02d}.png")
    extract(tmp_path / "cache", record(folder, "p"))
    assert made == ["p", "p"]
    after = open_video(parent / "p").read_crops([0])
    assert not np.array_equal(before, after)


def test_files_of_equal_size_and_time_that_change_places_are_noticed(
    clips: dict[str, Path], tmp_path: Path, made: list[str]
) -> None:
    paths = [tmp_path / f"{name}.mp4" for name in clips]
    for path, source in zip(paths, clips.values(), strict=True):
        shutil.copy(source, path)
        os.utime(path, ns=(10**18, 10**18))
    videos = [record(path, path.stem) for path in paths]
    extract(tmp_path / "cache", *videos)
    sums = [attributes(tmp_path / "cache", video.key)["file"]["sha256"] for video in videos]
    os.rename(paths[0], tmp_path / "aside")
    os.rename(paths[1], paths[0])
    os.rename(tmp_path / "aside", paths[1])
    extract(tmp_path / "cache", *videos)
    now = [attributes(tmp_path / "cache", video.key)["file"]["sha256"] for video in videos]
    assert now == sums[::-1] and len(made) == 4


def test_a_touched_file_is_read_once_more_and_then_known(
    clips: dict[str, Path], tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(clips["one"], tmp_path / "v.mp4"))
    extract(tmp_path / "cache", record(path, "v"))
    hashed: list[Path] = []
    inner = resume.content_hash
    monkeypatch.setattr(resume, "content_hash", lambda path: hashed.append(path) or inner(path))
    os.utime(path)
    for _ in range(3):
        extract(tmp_path / "cache", record(path, "v"))
    assert made == ["v"] and hashed == [path]


def test_another_split_is_written_into_the_group_without_decoding_it_again(
    clips: dict[str, Path], tmp_path: Path, made: list[str]
) -> None:
    extract(tmp_path / "cache", record(clips["one"], "v", split="train"))
    extract(tmp_path / "cache", record(clips["one"], "v", split="val"))
    assert made == ["v"] and attributes(tmp_path / "cache", "v")["split"] == "val"
    extract(tmp_path / "fresh", record(clips["one"], "v", split="val"))
    again, fresh = (
        run.cache_folder(tmp_path / name, "again", CROP) / "v" for name in ("cache", "fresh")
    )
    names = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
    assert all((again / name).read_bytes() == (fresh / name).read_bytes() for name in names)


@pytest.mark.parametrize(("reason", "stands"), [("corrupt", False), ("timeout", True)])
def test_what_is_refused_for_good_leaves_the_cache_and_what_may_pass_does_not(
    reason: str,
    stands: bool,
    clips: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Path(shutil.copy(clips["one"], tmp_path / "v.mp4"))
    extract(tmp_path / "cache", record(path, "v"))

    def refuse(*_: object, **__: object) -> None:
        raise VideoError(reason, "as a test wants it")

    shutil.copy(clips["two"], path)
    monkeypatch.setattr(one_video, "read_crops", refuse)
    assert extract(tmp_path / "cache", record(path, "v"))["v"].reason == reason
    folder = run.cache_folder(tmp_path / "cache", "again", CROP) / "v"
    assert folder.exists() == stands
    assert not stands or not verify_video(folder)


def test_a_shard_never_touches_what_it_will_not_make(
    clips: dict[str, Path], tmp_path: Path, made: list[str]
) -> None:
    videos = [record(clips["one"], f"v{number}") for number in range(6)]
    extract(tmp_path / "cache", *videos)
    parent = run.cache_folder(tmp_path / "cache", "again", CROP)
    before = {path.name: path.stat().st_ino for path in parent.iterdir() if path.is_dir()}
    made.clear()
    changed = [replace(video, method="other") for video in videos]
    extract(tmp_path / "cache", *changed, config=replace(CONFIG, shard=(1, 2)))
    share = {video.video_id for video in run._own_share(videos, (1, 2))}
    assert set(made) == share and 0 < len(share) < 6
    after = {path.name: path.stat().st_ino for path in parent.iterdir() if path.is_dir()}
    assert {name for name in before if before[name] != after[name]} == share


def test_a_shard_that_was_slow_to_begin_takes_nothing_from_one_that_ended_meanwhile(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard 1 has judged every video when shard 2 comes, makes its own and ends."""
    videos = [record(clips["one"], f"v{number}") for number in range(6)]
    extract(tmp_path / "cache", *videos)
    changed = [replace(video, method="other") for video in videos]
    work, ended = dispatch.dispatch, {}

    def meanwhile(*task) -> Iterator[Outcome]:
        monkeypatch.setattr(dispatch, "dispatch", work)
        ended.update(extract(tmp_path / "cache", *changed, config=replace(CONFIG, shard=(2, 2))))
        yield from work(*task)

    monkeypatch.setattr(dispatch, "dispatch", meanwhile)
    ended |= extract(tmp_path / "cache", *changed, config=replace(CONFIG, shard=(1, 2)))
    assert {name: outcome.status for name, outcome in ended.items()} == {
        video.video_id: "ok" for video in videos
    }
    for video in videos:
        assert attributes(tmp_path / "cache", video.video_id)["method"] == "other"
    dataset = Dataset("again", tmp_path, tuple(changed))
    config = replace(CONFIG, shard=(1, 2))
    written = publish(dataset, [*ended.values()], config, tmp_path / "cache", tmp_path / "m")
    assert sum(written.values()) == 6, "no line is lacking"
