"""DFDC preview: the first number of a fake is the donor, and lists match by whole path."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant, plant_json
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests

REAL = "original_videos/1224068/1224068_A_000.mp4"
FAKE = "method_A/1224068/1224068_A/2150072_1224068_A_000.mp4"
OTHER = "method_B/1224068/1224068_A/2150072_1224068_A_000.mp4"
TEST = "original_videos/999/999_B_001.mp4"
TRAINING = [f"original_videos/{n}/{n}_A_000.mp4" for n in range(10, 20)]


@pytest.fixture
def root(tmp_path):
    rows = {
        REAL: {"label": "real", "set": "train", "augmentations": []},
        FAKE: {
            "label": "fake",
            "set": "train",
            "augmentations": [],
            "target_id": 1224068,
            "swapped_id": 2150072,
        },
        OTHER: {"label": "fake", "set": "train", "augmentations": []},
        TEST: {"label": "real", "set": "test", "augmentations": ["fps"]},
        **{name: {"label": "real", "set": "train", "augmentations": []} for name in TRAINING},
    }
    plant(tmp_path / "release", *rows)
    plant_json(tmp_path / "release" / "dataset.json", rows)
    return tmp_path


def test_every_field(root):
    video = by_key(find("dfdcp", root))[FAKE.removesuffix(".mp4")]
    assert video == Video(
        dataset="dfdcp",
        key="method_A/1224068/1224068_A/2150072_1224068_A_000",
        video_id="method_A-1224068-1224068_A-2150072_1224068_A_000",
        path=root / "release" / FAKE,
        label=1,
        method="method_A",
        split=video.split,
        split_origin=video.split_origin,
        target="1224068",
        source="2150072",
        pair="original_videos/1224068/1224068_A_000",
        group="1224068",
        video_fake=None,
        audio_fake=None,
    )
    assert (video.split, video.split_origin) in {("train", "official"), ("val", "derived")}


def test_equal_basenames_of_two_methods_stay_two_videos(root):
    (root / "release" / OTHER).unlink()
    dataset = find("dfdcp", root)
    assert keys(dataset.missing) == [OTHER.removesuffix(".mp4")] and FAKE.removesuffix(
        ".mp4"
    ) in keys(dataset.videos)


def test_val_is_cut_from_train_by_actor_and_test_stays(root):
    dataset = find("dfdcp", root)
    of = {}
    for video in dataset.videos:
        of.setdefault(video.group, set()).add(video.split)
    assert all(len(found) == 1 for found in of.values()) and of["999"] == {"test"}
    assert {"train", "val"} <= set.union(*of.values())
    assert {v.split_origin for v in dataset.videos if v.split == "val"} == {"derived"}


def test_a_row_that_contradicts_its_name_is_a_problem(root):
    path = root / "release" / "dataset.json"
    text = path.read_text().replace(
        '"target_id": 1224068, "swapped_id": 2150072', '"target_id": 2150072, "swapped_id": 1224068'
    )
    path.write_text(text)
    assert any(
        "names donor and target 2150072, 1224068" in problem
        for problem in find("dfdcp", root).problems
    )


def test_without_its_list_it_is_refused(tmp_path):
    plant(tmp_path, "original_videos/1/1_A_0.mp4")
    with pytest.raises(UsageError, match=r"no dataset\.json"):
        find("dfdcp", tmp_path)


class TestShared(DatasetTests):
    dataset_name = "dfdcp"

    @pytest.fixture
    def tree(self, root):
        return root
