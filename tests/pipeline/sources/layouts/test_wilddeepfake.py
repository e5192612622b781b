"""WildDeepfake: label and split by category, numbers that repeat, packed archives."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, plant
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "deepfake_in_the_wild"
    for category in ("real_train", "fake_train"):
        word = category.split("_")[0]
        plant(
            root,
            *(
                f"{category}/{shard}/{word}/{seq}/{n}.png"
                for shard in range(7)
                for seq in (0, 1)
                for n in (4, 17)
            ),
        )
    plant(root, "real_test/0/real/0/1.png", "fake_test/0/fake/0/1.png", "fake_test/0/.DS_Store")
    return root


def test_every_field(root):
    assert by_key(find("wilddeepfake", root))["fake_test_0_0"] == Video(
        dataset="wilddeepfake",
        key="fake_test_0_0",
        video_id="fake_test_0_0",
        path=root / "fake_test/0/fake/0",
        label=1,
        method="wild",
        split="test",
        split_origin="official",
        group="fake_test_0",
        video_fake=True,
    )


def test_repeating_numbers_and_a_root_named_deepfake_change_no_label(root):
    dataset = find("wilddeepfake", root.parent)
    assert len(dataset.videos) == 2 * 14 + 2
    assert all((v.label == 1) == v.key.startswith("fake") for v in dataset.videos)


def test_val_is_whole_shards_of_train_and_test_is_untouched(root):
    videos = find("wilddeepfake", root).videos
    shards = {}
    for video in videos:
        shards.setdefault(video.group, set()).add(video.split)
    assert all(len(found) == 1 for found in shards.values())
    assert {v.key for v in videos if v.split == "test"} == {"real_test_0_0", "fake_test_0_0"}
    assert {v.label for v in videos if v.split == "val"} == {0, 1}


def test_names_with_a_space_as_in_the_read_me(root):
    (root / "real_train").rename(root / "real train")
    assert len(find("wilddeepfake", root).videos) == 30


def test_packed_archives_are_refused_with_what_to_do(tmp_path):
    plant(tmp_path, "real_train/0.tar.gz", "fake_test/1.tar.gz")
    with pytest.raises(UsageError, match=r"2 archives are still packed.*tar -xf"):
        find("wilddeepfake", tmp_path)


class TestShared(DatasetTests):
    dataset_name = "wilddeepfake"

    @pytest.fixture
    def tree(self, root):
        return root
