"""Extract on drawn faces: the whole left half of the road, again and again, with the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction import publish, run
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.outcomes import read_outcomes
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

CROP = CropConfig(clips=4, frames=3, size=96)
CONFIG = ExtractConfig(crop=CROP, jobs=2)
METHODS = SourceOptions(methods=("Deepfakes", "NeuralTextures"))


def tree_hash(*roots: Path) -> dict[str, str]:
    """sha256 of every file below, locks left out: they hold no data."""
    files = [
        p for root in roots for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".lock"
    ]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def dataset(drawn: Path) -> Dataset:
    return discover("ffpp", drawn, METHODS)


@pytest.fixture(scope="module")
def done(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cache/ and manifests/ of one uninterrupted run over all 18 videos."""
    work = tmp_path_factory.mktemp("done")
    ended = run.extract(dataset.videos, CONFIG, work / "cache")
    publish.publish(dataset, ended, CONFIG, work / "cache", work / "manifests")
    assert [o.status for o in ended] == ["ok"] * 18
    return work


@pytest.fixture
def few(dataset: Dataset) -> Dataset:
    """The first three videos: enough to tell one from another."""
    return replace(dataset, videos=dataset.videos[:3])


def test_every_group_opens_with_plain_zarr_and_says_everything(
    done: Path, dataset: Dataset
) -> None:
    parent = run.cache_folder(done / "cache", "ffpp", CROP)
    for video in dataset.videos:
        group = zarr.open_group(parent / video.video_id, mode="r")
        said = dict(group.attrs)
        clips = said["outcome"]["clips"]
        # A drawn fake's flicker may look like a cut, and that clip is left out.
        assert clips == 4 or (
            clips == 3 and video.label == 1 and "fewer_clips" in said["outcome"]["flags"]
        )
        assert group["crops"].shape == (clips, 3, 96, 96, 3) and group["crops"].dtype == np.uint8
        assert (said["label"], said["method"], said["split"], said["pair"]) == (
            video.label, video.method, video.split, video.pair
        )  # fmt: skip
        assert np.diff(said["index"], axis=1).tolist() == [[1, 1]] * clips
        assert said["file"]["sha256"] == hashlib.sha256(video.path.read_bytes()).hexdigest()
        assert open_video(parent / video.video_id).source == Path(video.path.name)
        assert said["settings"] == json.loads(json.dumps(CROP.settings(reference_of(CROP))))


def test_the_crops_show_a_centred_face_and_the_bands_add_up(done: Path, dataset: Dataset) -> None:
    from tests.support.band_pictures import reconstruct

    parent = run.cache_folder(done / "cache", "ffpp", CROP)
    group = zarr.open_group(parent / dataset.videos[0].video_id, mode="r")
    crops, said = group["crops"][:], dict(group.attrs)
    for box, transform in zip(said["box"], said["transform"], strict=True):
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1])
        assert np.allclose(np.array(transform) @ centre, 48, atol=0.75)
    low, mid, high = reconstruct(group["bands"][0, 0], crops[0, 0], "area")
    assert np.abs(low + mid + high - crops[0, 0]).max() < 1e-3


def test_manifests_name_every_video_once_in_its_official_split(
    done: Path, dataset: Dataset
) -> None:
    for split in ("train", "val", "test"):
        manifest = read_manifest(
            done / "manifests" / "ffpp" / "c23" / f"{split}.txt", done / "cache"
        )
        expected = {v.video_id: v.label for v in dataset.videos if v.split == split}
        assert {Path(e.folder).name: e.label for e in manifest.entries} == expected
    listed = read_outcomes(done / "manifests" / "ffpp" / "c23" / "outcomes.jsonl")
    assert len(listed) == 18 + len(dataset.missing)


def test_running_again_does_nothing_and_changes_nothing(done: Path, dataset: Dataset) -> None:
    before = tree_hash(done)
    times = {p: p.stat().st_mtime_ns for p in (done / "cache").rglob("c.*")}
    ended = run.extract(dataset.videos, CONFIG, done / "cache")
    publish.publish(dataset, ended, CONFIG, done / "cache", done / "manifests")
    assert tree_hash(done) == before
    assert {p: p.stat().st_mtime_ns for p in (done / "cache").rglob("c.*")} == times


def test_other_settings_go_to_another_folder(few: Dataset, tmp_path: Path) -> None:
    video = few.videos[:1]
    for crop in (replace(CROP, bands=False), replace(CROP, bands=False, margin=1.5)):
        run.extract(video, replace(CONFIG, crop=crop, jobs=1), tmp_path)
    assert len(list((tmp_path / "ffpp").iterdir())) == 2


def test_two_shards_make_what_one_machine_makes(
    done: Path, dataset: Dataset, tmp_path: Path
) -> None:
    for part in (1, 2):
        config = replace(CONFIG, shard=(part, 2))
        ended = run.extract(dataset.videos, config, tmp_path / "cache")
        publish.publish(dataset, ended, config, tmp_path / "cache", tmp_path / "manifests")
    relative = {k.removeprefix(str(tmp_path)): v for k, v in tree_hash(tmp_path).items()}
    assert relative == {k.removeprefix(str(done)): v for k, v in tree_hash(done).items()}


def test_bad_files_are_outcomes_and_cost_nobody_else(few: Dataset, tmp_path: Path) -> None:
    first, second, third = few.videos
    (tmp_path / "text.mp4").write_text("<html>not found</html>")
    videos = [
        replace(first, path=tmp_path / "text.mp4"),
        replace(second, path=tmp_path / "gone.mp4"),
        third,
    ]
    seen = []
    ended = run.extract(videos, CONFIG, tmp_path / "cache", seen.append)
    assert [(o.status, o.reason) for o in ended] == [
        ("failed", "not_a_video"),
        ("failed", "missing"),
        ("ok", ""),
    ]
    assert sorted(o.video_id for o in seen) == sorted(v.video_id for v in videos)


def test_a_changed_source_is_extracted_again(few: Dataset, tmp_path: Path) -> None:
    video = replace(few.videos[0], path=tmp_path / "moving.mp4")
    shutil.copy(few.videos[0].path, video.path)
    parent = run.cache_folder(tmp_path / "cache", "ffpp", CROP)
    run.extract([video], CONFIG, tmp_path / "cache")
    once = (parent / video.video_id / "zarr.json").read_bytes()
    shutil.copy(few.videos[1].path, video.path)
    run.extract([video], CONFIG, tmp_path / "cache")
    assert (parent / video.video_id / "zarr.json").read_bytes() != once


def test_masks_follow_the_face_and_a_real_has_none(dataset: Dataset, tmp_path: Path) -> None:
    crop = replace(CROP, masks=True, bands=False)
    real = next(v for v in dataset.videos if v.label == 0)
    fake = next(v for v in dataset.videos if v.method == "Deepfakes")
    assert all(
        o.status == "ok" for o in run.extract([real, fake], replace(CONFIG, crop=crop), tmp_path)
    )
    parent = run.cache_folder(tmp_path, "ffpp", crop)
    assert not zarr.open_group(parent / real.video_id, mode="r")["masks"][:].any()
    masks = zarr.open_group(parent / fake.video_id, mode="r")["masks"][:]
    assert (
        set(np.unique(masks)) == {0, 255}
        and masks[:, :, 48, 48].all()
        and not masks[:, :, 0, 0].any()
    )


def test_pair_boxes_cut_a_fake_exactly_where_its_original_is_cut(
    dataset: Dataset, tmp_path: Path
) -> None:
    crop = replace(CROP, pair_boxes=True, bands=False)
    fake = next(v for v in dataset.videos if v.method == "Deepfakes")
    real = next(v for v in dataset.videos if v.key == fake.pair)
    run.extract([fake, real], replace(CONFIG, crop=crop), tmp_path)
    parent = run.cache_folder(tmp_path, "ffpp", crop)
    one, other = (dict(zarr.open_group(parent / v.video_id, mode="r").attrs) for v in (fake, real))
    assert one["transform"] == other["transform"] and one["index"] == other["index"]


def test_an_unwritable_cache_is_refused_before_any_work(few: Dataset, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(CacheError, match="cannot be written"):
        run.extract(few.videos, CONFIG, tmp_path / "cache")


def test_a_second_run_on_the_same_cache_says_who_holds_it(few: Dataset, tmp_path: Path) -> None:
    parent = run.cache_folder(tmp_path, "ffpp", CROP)
    parent.mkdir(parents=True)
    from unmask.pipeline.disk.locks import lock_cache

    with lock_cache(parent), pytest.raises(CacheError, match="pid"):
        run.extract(few.videos, CONFIG, tmp_path)
