"""Two people in a video and `--faces all`, from the drawn file to the video's score."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_run import make_run
from unmask.pipeline.cache import check
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import CropConfig, EvaluateConfig, ExtractConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.evaluation.evaluate import evaluate
from unmask.pipeline.extraction import publish, repair
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.records import Video
from unmask.pipeline.sources.dataset import Dataset

CROP = CropConfig(clips=3, frames=3, size=64, bands=False, faces="all")
CONFIG = ExtractConfig(crop=CROP, jobs=2)


def two(seed: int, forged: bool) -> list[np.ndarray]:
    """A larger person on the left, a smaller one, who may be forged, on the right."""
    forgery = Forgery(draw_identity(90)) if forged else None
    left = draw_frames(draw_identity(seed), 20, (240, 240), seed)
    right = draw_frames(draw_identity(seed + 7), 20, (240, 240), seed + 7, forgery, face=0.4)
    return [np.hstack([a, b]) for (a, _), (b, _) in zip(left, right, strict=True)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    root, videos = tmp_path_factory.mktemp("faces"), []
    for name, label in (("real", 0), ("fake", 1)):
        encode_video(root / f"{name}.mp4", two(5, bool(label)))
        videos.append(
            Video("two", name, name, root / f"{name}.mp4", label, group=name, split="test")
        )
    dataset = Dataset("two", root, tuple(videos))
    walk(root, dataset)
    return root, dataset


def walk(root: Path, dataset: Dataset) -> Path:
    ended = extraction.extract(dataset.videos, CONFIG, root / "cache")
    assert [outcome.status for outcome in ended] == ["ok", "ok"]
    (path,) = publish.publish(dataset, ended, CONFIG, root / "cache", root / "manifests")
    return path


def parent_of(root: Path) -> Path:
    return extraction.cache_folder(root / "cache", "two", CROP)


def bytes_of(root: Path) -> dict[str, bytes]:
    return {
        str(p): p.read_bytes()
        for p in sorted(parent_of(root).rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def test_each_person_has_a_folder_and_a_line_of_the_manifest(done: tuple[Path, Dataset]) -> None:
    root, _ = done
    manifest = read_manifest(root / "manifests/two/none/test.txt", root / "cache")
    assert [Path(e.folder).name for e in manifest.entries] == ["real", "real--1", "fake", "fake--1"]
    assert [e.label for e in manifest.entries] == [0, 0, 1, 1]
    for name in ("real", "fake"):
        main, other = (
            open_video(parent_of(root) / f"{name}{suffix}").attributes for suffix in ("", "--1")
        )
        assert (main["track"], other["track"]) == (0, 1) and main["video_id"] == other[
            "video_id"
        ] == name
        left, right = (np.array(said["box"])[:, [0, 2]].mean(1) for said in (main, other))
        assert (left < 240).all() and (right > 240).all()


def test_a_second_run_keeps_all_of_them_byte_for_byte(done: tuple[Path, Dataset]) -> None:
    root, dataset = done
    before, manifest = bytes_of(root), (root / "manifests/two/none/test.txt").read_bytes()
    assert walk(root, dataset).read_bytes() == manifest
    assert bytes_of(root) == before


@pytest.mark.parametrize("hurt", ["fake--1", "fake"])
def test_repair_makes_all_persons_of_a_damaged_video_again(
    hurt: str, done: tuple[Path, Dataset], tmp_path
) -> None:
    root, _ = done
    before = bytes_of(root)
    shard = next((parent_of(root) / hurt / "crops").glob("c.*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    damaged = [
        found.folder
        for found in check.check(check.video_folders(parent_of(root)))
        if found.problems
    ]
    assert [folder.name for folder in damaged] == [hurt]
    ended = repair.repair(damaged, CONFIG, root / "cache", lambda outcome: None)
    assert [(o.video_id, o.status) for o in ended] == [("fake", "ok")]
    assert bytes_of(root) == before


def test_a_run_that_died_between_two_persons_is_finished(done: tuple[Path, Dataset]) -> None:
    """The main person is committed last, so without it the video counts as not done, whoever else
    is there.
    """
    root, dataset = done
    before = bytes_of(root)
    shutil.rmtree(parent_of(root) / "fake")
    walk(root, dataset)
    assert bytes_of(root) == before


def test_the_videos_score_is_its_most_suspicious_persons_and_can_be_switched(
    done, tmp_path: Path
) -> None:
    root, _ = done
    manifest = root / "manifests/two/none/test.txt"
    run = make_run(tmp_path / "run", root / "cache", manifest)
    config = EvaluateConfig(
        (str(manifest),),
        str(run),
        cache=str(root / "cache"),
        resamples=0,
        device="cpu",
        explain=0,
        pictures=False,
        allow_leakage=True,
    )
    for tracks, join in (("max", max), ("mean", np.mean)):
        (found,) = evaluate(replace(config, tracks=tracks, out=str(tmp_path / tracks)))
        with (found.folder / "scores.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        persons = {
            (name, track): np.mean(
                [float(x["score"]) for x in lines if (x["video_id"], x["track"]) == (name, track)]
            )
            for name in ("real", "fake")
            for track in ("0", "1")
        }
        joined = [join([persons[name, "0"], persons[name, "1"]]) for name in ("real", "fake")]
        assert persons["fake", "0"] != persons["fake", "1"]
        video = found.result.video
        assert (video.sizes.n, found.result.levels["clip"].sizes.n) == (2, 12)
        loss = -np.mean([np.log(1 - joined[0]), np.log(joined[1])])
        assert video.measure("log_loss").value == pytest.approx(loss, rel=1e-9)
