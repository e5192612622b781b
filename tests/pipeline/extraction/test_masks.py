"""Of several people in a fake the forged one is cut, where a mask says who that is; otherwise the
doubt is told.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction import publish
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.dataset import Dataset

CROP = CropConfig(clips=3, frames=3, size=64, bands=False, masks=True)
CONFIG = ExtractConfig(crop=CROP, jobs=1)
WIDTH = 480


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A larger untouched person on the left, a smaller forged one on the right; the same at rest;
    masks of full, half and double size, of another shape, on nobody, empty, damaged.
    """
    root = tmp_path_factory.mktemp("masks")
    left = list(draw_frames(draw_identity(5), 20, (240, 240), 5))
    forgery = Forgery(draw_identity(90))
    right = list(draw_frames(draw_identity(12), 20, (240, 240), 12, forgery, face=0.4))
    plain = list(draw_frames(draw_identity(12), 20, (240, 240), 12, face=0.4))
    encode_video(
        root / "fake.mp4", [np.hstack([a, b]) for (a, _), (b, _) in zip(left, right, strict=True)]
    )
    encode_video(
        root / "real.mp4", [np.hstack([a, b]) for (a, _), (b, _) in zip(left, plain, strict=True)]
    )
    masks = [
        np.repeat(np.hstack([np.zeros((240, 240), np.uint8), mask])[..., None], 3, axis=2)
        for _, mask in right
    ]
    kinds = {
        "same": masks,
        "half": [cv2.resize(mask, (240, 120), interpolation=cv2.INTER_AREA) for mask in masks],
        "double": [cv2.resize(mask, (960, 480)) for mask in masks],
        "nobody": [np.roll(np.roll(mask, 150, axis=0), 90, axis=1) for mask in masks],
        "empty": [np.zeros_like(mask) for mask in masks],
    }
    for name, pictures in kinds.items():
        encode_video(root / f"{name}.mp4", pictures)
    (root / "damaged.mp4").write_bytes((root / "same.mp4").read_bytes()[:300])
    return root


def fake(root: Path, mask: str | None, **facts: object) -> Video:
    path = root / f"{mask}.mp4" if mask else None
    return Video("masks", "fake", "fake", root / "fake.mp4", 1, "swap", mask=path, **facts)


def extract(
    videos: list[Video], cache: Path, config: ExtractConfig = CONFIG
) -> tuple[list[Outcome], dict[str, dict]]:
    """Outcomes, and the attributes of every group by its name."""
    ended = extraction.extract(videos, config, cache)
    parent = extraction.cache_folder(cache, "masks", config.crop)
    folders = (path for path in parent.iterdir() if not path.name.startswith((".", "index")))
    return ended, {path.name: open_video(path).attributes for path in folders}


def side(attributes: dict) -> set[str]:
    """Which of the two persons lies in the boxes."""
    centre = np.array(attributes["box"])[:, [0, 2]].mean(1)
    return {"right" if x > WIDTH / 2 else "left" for x in centre}


@pytest.mark.parametrize("mask", ["same", "half", "double"])
def test_the_person_under_the_mask_is_cut_and_the_mask_lies_on_the_face(
    mask: str, root: Path, tmp_path: Path
) -> None:
    (outcome,), groups = extract([fake(root, mask)], tmp_path)
    assert side(groups["fake"]) == {"right"} and outcome.flags == ()
    parent = extraction.cache_folder(tmp_path, "masks", CROP)
    cut = open_video(parent / "fake").read_masks(range(outcome.clips))
    assert cut[:, :, 32, 32].all() and not cut[:, :, 0, 0].any()
    assert 0.1 < (cut > 0).mean() < 0.6


def test_with_all_faces_only_the_forged_person_of_a_fake_is_kept(
    root: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, crop=replace(CROP, faces="all"))
    real = Video("masks", "real", "real", root / "real.mp4", 0)
    _, groups = extract([fake(root, "same"), real], tmp_path, config)
    assert sorted(groups) == ["fake", "real", "real--1"]
    assert side(groups["fake"]) == {"right"} and groups["fake"]["track"] == 0


def test_at_an_originals_boxes_the_forged_person_is_still_the_one_cut(
    root: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, crop=replace(CROP, pair_boxes=True))
    real = Video("masks", "real", "real", root / "real.mp4", 0)
    (outcome, _), groups = extract([fake(root, "same", pair="real"), real], tmp_path, config)
    assert side(groups["real"]) == {"left"} and side(groups["fake"]) == {"right"}
    assert outcome.flags == ("own_boxes",)


@pytest.mark.parametrize(
    ("mask", "flags"),
    [
        (None, {"several_persons", "no_mask"}),
        ("empty", {"several_persons"}),
        ("damaged", {"several_persons", "mask_unreadable"}),
        ("nobody", {"mask_elsewhere"}),
    ],
)
def test_doubt_about_who_is_forged_is_told_and_a_mask_on_nobody_keeps_out_of_train(
    mask: str | None, flags: set[str], root: Path, tmp_path: Path
) -> None:
    videos = (
        fake(root, mask, split="train"),
        Video("masks", "real", "real", root / "real.mp4", 0, split="train"),
    )
    ended, groups = extract(list(videos), tmp_path / "cache")
    assert set(ended[0].flags) == flags and side(groups["fake"]) == {"left"}
    assert ended[1].flags == (), "of a real nobody needs to ask who it is"
    written = publish.publish(
        Dataset("masks", root, videos), ended, CONFIG, tmp_path / "cache", tmp_path / "manifests"
    )
    assert list(written.values()) == [1 if mask == "nobody" else 2]
