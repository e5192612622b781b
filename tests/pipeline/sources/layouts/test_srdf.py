"""SR-DF: a labelled folder with FF++-like names and the FF++ lists."""

from __future__ import annotations

import pytest

from tests.support.trees import SMALL, by_key, find, plant, plant_json
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video


def test_splits_come_from_the_first_id(tmp_path):
    for split, pairs in SMALL.items():
        plant_json(tmp_path / "splits" / f"{split}.json", pairs)
    plant(
        tmp_path,
        "real/000.mp4",
        "real/720.mp4",
        "fake/FSGAN/000_003.mp4",
        "fake/IcFace/071.mp4",
        "fake/FSGAN/odd.mp4",
    )
    dataset = find("sr-df", tmp_path)
    found = by_key(dataset)
    assert found["fake/FSGAN/000_003.mp4"] == Video(
        dataset="srdf",
        key="fake/FSGAN/000_003.mp4",
        video_id="fake-FSGAN-000_003",
        path=tmp_path / "fake/FSGAN/000_003.mp4",
        label=1,
        method="FSGAN",
        split="test",
        split_origin="official",
        target="000",
        source="003",
        pair="real/000.mp4",
        group="000",
        video_fake=True,
    )
    assert found["real/720.mp4"].split == "val" and found["fake/IcFace/071.mp4"].split == "train"
    assert dataset.unlisted == ("fake/FSGAN/odd.mp4",)


def test_without_lists_the_official_ones_that_ship_are_used(tmp_path):
    dataset = find("srdf", plant(tmp_path, "real/000.mp4", "fake/FSGAN/071_054.mp4"))
    assert {v.key: v.split for v in dataset.videos} == {
        "real/000.mp4": "test",
        "fake/FSGAN/071_054.mp4": "train",
    }
    assert any("come with unmask" in note for note in dataset.notes)


def test_incomplete_lists_are_refused(tmp_path):
    plant_json(tmp_path / "train.json", SMALL["train"])
    with pytest.raises(UsageError, match=r"train\.json"):
        find("srdf", plant(tmp_path, "real/000.mp4"))
