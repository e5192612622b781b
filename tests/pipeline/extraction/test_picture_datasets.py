"""WildDeepfake, VidTIMIT and pre-extracted FF++ frames: drawn faces in the owners' trees, up to
the manifest.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.pictures_of import save_pictures
from unmask.models.recipes.blends import BlendSpec
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.real_only import RealOnly
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction import publish, run
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.records import FAKE
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

CROP = CropConfig(clips=4, frames=3, size=64, bands=False)


def drawn(
    seed: int, count: int, size: tuple[int, int] = (224, 224), forged: bool = False
) -> list[np.ndarray]:
    forgery = Forgery(draw_identity(50)) if forged else None
    return [
        picture
        for picture, _ in draw_frames(draw_identity(seed), count, size, seed, forgery, face=0.8)
    ]


def road(
    name: str, root: Path, work: Path, crop: CropConfig = CROP, **options: object
) -> dict[str, dict]:
    """key -> attributes of everything that ended in the cache and in a manifest."""
    dataset = discover(name, root, SourceOptions(**options))
    config = ExtractConfig(crop=crop, jobs=2)
    ended = run.extract(dataset.videos, config, work / "cache")
    assert {(o.status, o.reason) for o in ended} == {("ok", "")}
    written = publish.publish(dataset, ended, config, work / "cache", work / "manifests")
    found = {}
    for path in written:
        manifest = read_manifest(path, work / "cache")
        for entry, folder in zip(manifest.entries, manifest.folders, strict=True):
            said = open_video(folder).attributes
            assert entry.label == said["label"]
            found[said["key"]] = said | {"manifest": path.stem}
    assert len(found) == len(dataset.videos)
    return found


def test_wilddeepfake_clips_are_runs_of_original_frame_numbers(tmp_path: Path) -> None:
    """Numbers are not padded and have gaps: 98..103 come after 7..12, and no clip holds 12 and
    98.
    """
    numbers = [*range(7, 13), *range(98, 104)]
    for place, (category, word) in enumerate(
        (("real_test", "real"), ("fake_test", "fake"), ("fake_train", "fake"))
    ):
        pictures = dict(
            zip(
                (f"{n}.png" for n in numbers),
                drawn(20 + place, 12, forged=word == "fake"),
                strict=True,
            )
        )
        save_pictures(tmp_path / "deepfake_in_the_wild" / category / "0" / word / "5", pictures)
    found = road("wilddeepfake", tmp_path / "deepfake_in_the_wild", tmp_path)
    assert {key: said["manifest"] for key, said in found.items()} == {
        "real_test_0_5": "test", "fake_test_0_5": "test", "fake_train_0_5": "train"
    }  # fmt: skip
    runs = [[n, n + 1, n + 2] for n in (7, 8, 9, 10, 98, 99, 100, 101)]
    for said in found.values():
        assert all(row in runs for row in said["index"]) and len(said["index"]) == 4
        assert {row[0] > 50 for row in said["index"]} == {False, True}, (
            "both sides of the gap are shown"
        )
        assert np.allclose(said["pts"], (np.array(said["index"]) - 7) / 25)
        assert (
            said["media"]["container"] == "pictures" and "times_from_rate" in said["media"]["flags"]
        )


def test_vidtimit_jpegs_without_extension_beside_avi_fakes(tmp_path: Path) -> None:
    jpegs = {f"{n:03d}": picture for n, picture in enumerate(drawn(30, 12, (320, 240)), 1)}
    save_pictures(tmp_path / "VidTIMIT" / "fadg0" / "video" / "sa1", jpegs)
    fake = tmp_path / "DeepfakeTIMIT" / "higher_quality" / "fadg0" / "sa1-video-fram1.avi"
    encode_video(fake, drawn(30, 12, (320, 240), forged=True), codec="mpeg4")
    found = road("dftimit", tmp_path / "DeepfakeTIMIT", tmp_path)
    real, forged = found["VidTIMIT/fadg0/sa1"], found["higher_quality/fadg0/sa1-video-fram1"]
    assert (real["label"], real["media"]["codec"], forged["label"]) == (0, "mjpeg", FAKE)
    assert (forged["pair"], forged["media"]["codec"]) == (real["key"], "mpeg4")
    # Picture 001 is frame 0 of the fake, so that the two can be compared frame by frame, and cut
    # alike.
    assert real["index"] == forged["index"]
    crop = replace(CROP, pair_boxes=True)
    paired = road("dftimit", tmp_path / "DeepfakeTIMIT", tmp_path, crop)
    real, forged = paired["VidTIMIT/fadg0/sa1"], paired["higher_quality/fadg0/sa1-video-fram1"]
    assert (real["index"], real["transform"]) == (forged["index"], forged["transform"])


@pytest.mark.parametrize("folder, name", [("images", "{:04d}.png"), ("frames", "{:03d}.png")])
def test_pre_extracted_frames_of_ffpp_keep_the_numbers_of_the_video(
    folder: str, name: str, tmp_path: Path
) -> None:
    """`images/0000.png` of the official helper, `frames/000.png` of DeepfakeBench; 6 to 8 of a
    fake are lost.
    """
    root = tmp_path / "ffpp"
    for split, pairs in (
        ("train", [["000", "001"]]),
        ("val", [["002", "003"]]),
        ("test", [["004", "005"]]),
    ):
        (root / f"{split}.json").parent.mkdir(exist_ok=True)
        (root / f"{split}.json").write_text(json.dumps(pairs))
    for seed, (stem, other) in enumerate((("000", "001"), ("001", "000"))):
        for method, forged in (("", False), ("Deepfakes", True)):
            leaf = (
                root
                / ("manipulated_sequences/Deepfakes" if forged else "original_sequences/youtube")
                / "c23"
            )
            pictures = drawn(40 + seed, 14, (320, 240), forged)
            kept = {
                name.format(n): p for n, p in enumerate(pictures) if not (forged and 6 <= n < 9)
            }
            save_pictures(leaf / folder / (f"{stem}_{other}" if method else stem), kept)
    found = road("ffpp", root, tmp_path, methods=("Deepfakes",))
    assert sorted(found) == [
        "Deepfakes/c23/000_001",
        "Deepfakes/c23/001_000",
        "youtube/c23/000",
        "youtube/c23/001",
    ]
    for key, said in found.items():
        index = np.array(said["index"])
        assert (np.diff(index, axis=1) == 1).all()
        assert key.startswith("youtube") or not np.isin(index, [6, 7, 8]).any()


def test_stills_of_real_people_alone_are_enough_to_train_on(tmp_path: Path) -> None:
    """real/*.png and *.jpg become videos of one frame, from which a training makes its fakes."""
    (tmp_path / "mine/real").mkdir(parents=True)
    for person, name in enumerate(("a.png", "b.jpg", "c.png")):
        picture = drawn(person, 1)[0]
        cv2.imwrite(str(tmp_path / "mine/real" / name), picture[..., ::-1])
    crop = CropConfig(clips=1, frames=1, size=96, bands=False)
    found = road("folder", tmp_path / "mine", tmp_path, crop, split_ratio=(1.0, 0.0, 0.0))
    assert {key: said["label"] for key, said in found.items()} == {
        "real/a.png": 0,
        "real/b.jpg": 0,
        "real/c.png": 0,
    }
    train = next((tmp_path / "manifests").rglob("train.txt"))
    spec = ClipSpec("single", 1, 96, masks=True)
    source = RealOnly(train, tmp_path / "cache", spec, BlendSpec())
    raw = next(batches(source, [source.evaluation_samples()]))
    assert raw.pixels.shape == (6, 1, 96, 96, 3) and raw.label.tolist() == [0, 1] * 3
    assert (raw.pixels[0::2] != raw.pixels[1::2]).any() and raw.masks[1::2].any()
