"""Every sampling mode reads every kind of storage, and gets the pixels that were put into it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.tiny_cache import write_one
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.hdf5 import open_export
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.clips.picture_folder import PictureClips
from unmask.pipeline.clips.plans import training_plan
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import CacheError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.training.train import train

CLIPS, FRAMES, SIDE = 4, 5, 240  # a folder of 20 pictures is cut into such clips
MODES = [
    ClipSpec("consecutive", FRAMES),  # whole clips, read straight into their place
    ClipSpec("consecutive", 3),
    ClipSpec("single", 1),
    ClipSpec("sparse", 2),
    ClipSpec("sparse", 8),  # more than there are clips: spread over the video
    ClipSpec("chained", 10),
    ClipSpec("chained", 30),
    ClipSpec("runs", 8, run=4),
]
PIXELS = np.random.default_rng(5).integers(0, 256, (2, CLIPS, FRAMES, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same two videos, one real and one fake, in each kind of storage."""
    root = tmp_path_factory.mktemp("readers")
    cached = [write_one(root, name, PIXELS[label], label) for label, name in enumerate("ab")]
    write_manifest(root / "cached.txt", cached)
    write_export(root / "exported.h5", read_manifest(root / "cached.txt", root))
    for label, name in enumerate("ab"):
        (root / name).mkdir()
        for number, picture in enumerate(PIXELS[label].reshape(-1, SIDE, SIDE, 3)):
            cv2.imwrite(str(root / name / f"{number}.png"), picture[..., ::-1])
    (root / "pictures.txt").write_text("a 0\nb 1\n")
    return {path.stem: path for path in root.iterdir() if path.suffix in (".txt", ".h5")}


@pytest.mark.parametrize("spec", MODES, ids=lambda spec: f"{spec.mode}{spec.frames}")
@pytest.mark.parametrize("kind", ["cached", "exported", "pictures"])
def test_every_mode_reads_every_storage(
    manifests: dict[str, Path], kind: str, spec: ClipSpec
) -> None:
    source = ClipSource(manifests[kind], manifests[kind].parent, spec)
    assert source.shapes == [(CLIPS, FRAMES)] * 2
    drawn = training_plan(
        spec, source.labels, source.pairs, source.shapes, batch=2, seed=1, epoch=0
    )
    samples = [*source.evaluation_samples(), *(sample for batch in drawn for sample in batch)]
    (raw,) = batches(source, [samples])
    for sample, pixels, label in zip(samples, raw.pixels.numpy(), raw.label.tolist(), strict=True):
        expected = np.stack([PIXELS[sample.video, clip, frame] for clip, frame in sample.picks])
        np.testing.assert_array_equal(pixels, expected)
        assert label == sample.video


def opened(manifests: dict[str, Path], kind: str) -> ClipReader:
    root = manifests[kind].parent
    if kind == "exported":
        return open_export(manifests[kind]).videos[1]
    return PictureClips(root / "b") if kind == "pictures" else open_video(root / "tiny/tiny-key/b")


@pytest.mark.parametrize("kind", ["cached", "exported", "pictures"])
def test_every_storage_keeps_the_same_contract(manifests: dict[str, Path], kind: str) -> None:
    reader = opened(manifests, kind)
    assert (reader.clips, reader.shape, reader.arrays) == (CLIPS, PIXELS.shape[1:], ("crops",))
    assert reader.array_shape("crops") == reader.shape
    assert reader.attributes["key"] == "b"
    np.testing.assert_array_equal(reader.read_crops([3, 0, 3]), PIXELS[1][[3, 0, 3]])
    room = reader.empty(1)[0]
    reader.read_clip(2, room)
    np.testing.assert_array_equal(room, PIXELS[1, 2])
    for clip in (-1, CLIPS):
        with pytest.raises(IndexError):
            reader.read("crops", clip, room)
    with pytest.raises(ValueError, match="expected room"):
        reader.read("crops", 0, room[:2])
    with pytest.raises(ValueError, match="do not fit"):
        reader.read_crops([0], reader.empty(2))
    for array in ("masks", "bands"):
        with pytest.raises(CacheError, match=array):
            reader.read_clips(array, [0])


def test_the_default_model_trains_on_folders_of_pictures(
    manifests: dict[str, Path], tmp_path: Path
) -> None:
    config = TrainConfig(
        manifest=str(manifests["pictures"]),
        cache=str(tmp_path),
        options={"width": 8, "size": 96},  # as published but for the width: whole clips of 5 frames
        overrides={"batch": 2},
        steps=1,
        device="cpu",
        tensorboard=False,
    )
    train(config, run=tmp_path / "run")
    (step,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[:1]
    assert math.isfinite(json.loads(step)["loss"])
