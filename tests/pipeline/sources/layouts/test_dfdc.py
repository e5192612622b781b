"""DFDC full: metadata per part, labelled official folders, and the Kaggle sample."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant, plant_json, splits
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests


def plant_part(root, number, rows):
    part = root / f"dfdc_train_part_{number}"
    plant(part, *rows)
    plant_json(part / "metadata.json", rows)


REAL = {"label": "REAL", "split": "train"}


def fake(original):
    return {"label": "FAKE", "split": "train", "original": original}


@pytest.fixture
def root(tmp_path):
    plant_part(tmp_path, 0, {"aaaaaaaaaa.mp4": REAL, "bbbbbbbbbb.mp4": fake("aaaaaaaaaa.mp4")})
    plant_part(tmp_path, 36, {"cccccccccc.mp4": {**REAL, "original": None}})
    plant_part(tmp_path, 49, {"dddddddddd.mp4": fake("gone.mp4")})
    return tmp_path


def test_every_field(root):
    found = by_key(find("dfdc", root))
    assert found["dfdc_train_part_0/bbbbbbbbbb"] == Video(
        dataset="dfdc",
        key="dfdc_train_part_0/bbbbbbbbbb",
        video_id="dfdc_train_part_0-bbbbbbbbbb",
        path=root / "dfdc_train_part_0/bbbbbbbbbb.mp4",
        label=1,
        method="DFDC",
        split="train",
        split_origin="derived",
        pair="dfdc_train_part_0/aaaaaaaaaa",
        group="part-0",
        video_fake=None,
        audio_fake=None,
    )
    assert found["dfdc_train_part_0/aaaaaaaaaa"] == Video(
        dataset="dfdc",
        key="dfdc_train_part_0/aaaaaaaaaa",
        video_id="dfdc_train_part_0-aaaaaaaaaa",
        path=root / "dfdc_train_part_0/aaaaaaaaaa.mp4",
        label=0,
        method="real",
        split="train",
        split_origin="derived",
        group="part-0",
        video_fake=False,
        audio_fake=False,
    )


def test_parts_are_carved_when_there_are_no_official_folders(root):
    dataset = find("dfdc", root)
    assert splits(dataset) == {
        "dfdc_train_part_0/aaaaaaaaaa": "train",
        "dfdc_train_part_0/bbbbbbbbbb": "train",
        "dfdc_train_part_36/cccccccccc": "val",
        "dfdc_train_part_49/dddddddddd": "test",
    }
    assert any("training parts 35-39" in note and "40-49" in note for note in dataset.notes)


def test_the_labelled_test_folder_takes_over_and_its_part_goes_back_to_train(root):
    plant(root, "test/x1.mp4", "test/x2.mp4", "test/nolabel.mp4")
    (root / "test/labels.csv").write_text("filename,label\nx1.mp4,1\nx2.mp4,0\nx3.mp4,1\n")
    dataset = find("dfdc", root)
    found = by_key(dataset)
    assert (found["test/x1"].label, found["test/x1"].split, found["test/x1"].split_origin) == (
        1,
        "test",
        "official",
    )
    assert found["test/x2"].label == 0 and found["dfdc_train_part_49/dddddddddd"].split == "train"
    assert keys(dataset.missing) == ["test/x3"] and dataset.unlisted == ("test/nolabel.mp4",)


def test_zero_padded_parts_of_the_kaggle_archives(tmp_path):
    plant_part(tmp_path / "train", "07", {"a.mp4": REAL})
    video = find("dfdc", tmp_path).videos[0]
    assert video.group == "part-7" and video.key == "train/dfdc_train_part_07/a"


def test_the_sample_is_used_alone_and_left_out_beside_the_parts(root):
    sample = {
        "aaaaaaaaaa.mp4": REAL,
        "bbbbbbbbbb.mp4": fake("aaaaaaaaaa.mp4"),
        "eeeeeeeeee.mp4": fake("zzz.mp4"),
    }
    plant(root / "train_sample_videos", *sample)
    plant_json(root / "train_sample_videos/metadata.json", sample)
    both = find("dfdc", root)
    assert not any("sample" in key for key in keys(both.videos)) and any(
        "repeats" in n for n in both.notes
    )
    for part in root.glob("dfdc_train_part_*"):
        part.rename(root.parent / part.name)
    alone = by_key(find("dfdc", root))
    assert (
        alone["train_sample_videos/aaaaaaaaaa"].group
        == alone["train_sample_videos/bbbbbbbbbb"].group
    )
    assert (
        alone["train_sample_videos/eeeeeeeeee"].group
        != alone["train_sample_videos/aaaaaaaaaa"].group
    )


def test_a_folder_without_labels_is_not_used(root):
    plant(root, "test_videos/y.mp4")
    assert not any("test_videos" in key for key in keys(find("dfdc", root).videos))


def test_missing_and_unlisted_files_of_a_part(root):
    (root / "dfdc_train_part_0/bbbbbbbbbb.mp4").unlink()
    plant(root, "dfdc_train_part_0/extra.mp4")
    dataset = find("dfdc", root)
    assert keys(dataset.missing) == ["dfdc_train_part_0/bbbbbbbbbb"]
    assert dataset.unlisted == ("dfdc_train_part_0/extra.mp4",)


def test_broken_metadata_is_named(root):
    (root / "dfdc_train_part_36/metadata.json").write_text("{")
    with pytest.raises(UsageError, match=r"dfdc_train_part_36/metadata\.json.*not readable JSON"):
        find("dfdc", root)


def test_the_released_test_set_says_is_fake(root):
    rows = {"eeeeeeeeee.mp4": {"is_fake": 1, "augmentations": {}}, "ffffffffff.mp4": {"is_fake": 0}}
    plant(root / "test", *rows)
    plant_json(root / "test" / "metadata.json", {**rows, "gggggggggg.mp4": {"is_fake": "maybe"}})
    dataset = find("dfdc", root)
    found = by_key(dataset)
    assert [found[f"test/{name * 10}"].label for name in "ef"] == [1, 0]
    assert found["test/eeeeeeeeee"].split_origin == "official"
    assert any("1 videos without a label" in problem for problem in dataset.problems)


class TestShared(DatasetTests):
    dataset_name = "dfdc"

    @pytest.fixture
    def tree(self, root):
        return root
