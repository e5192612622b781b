"""A folder of your own: the nearest real/ or fake/ decides, nothing else does."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant, splits
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video


def test_every_field(tmp_path):
    plant(tmp_path, "real/a.mp4", "fake/Deepfakes/b.mp4", "fake/c.mp4", "fake/d.mp4")
    found = by_key(find("folder", tmp_path, name="mine", split_ratio=(1.0, 0.0, 0.0)))
    assert found["fake/Deepfakes/b.mp4"] == Video(
        dataset="mine",
        key="fake/Deepfakes/b.mp4",
        video_id="fake-Deepfakes-b",
        path=tmp_path / "fake/Deepfakes/b.mp4",
        label=1,
        method="Deepfakes",
        compression="none",
        split="train",
        split_origin="derived",
        group="b",
        video_fake=True,
    )
    assert found["real/a.mp4"] == Video(
        dataset="mine",
        key="real/a.mp4",
        video_id="real-a",
        path=tmp_path / "real/a.mp4",
        label=0,
        method="real",
        split="train",
        split_origin="derived",
        group="a",
        video_fake=False,
    )
    assert found["fake/c.mp4"].method == "fake"


def test_labels_never_come_from_the_root_or_from_names(tmp_path):
    root = plant(
        tmp_path / "fake" / "realfakes",
        "x/REAL/fake_news.mp4",
        "y/Fake/real.mp4",
        "real/fake/z.mp4",
    )
    labels = {key: video.label for key, video in by_key(find("folder", root)).items()}
    assert labels == {"x/REAL/fake_news.mp4": 0, "y/Fake/real.mp4": 1, "real/fake/z.mp4": 1}


def test_files_outside_are_refused_with_a_few_names(tmp_path):
    plant(tmp_path, "real/a.mp4", *(f"loose/really_{n}.mp4" for n in range(8)))
    with pytest.raises(
        UsageError,
        match=r"8 of 9 videos.*'loose/really_0\.mp4'.*really_4\.mp4', \.\.\..*--dataset csv",
    ):
        find("folder", tmp_path)


def test_split_folders_are_honoured_on_either_side(tmp_path):
    plant(tmp_path, "train/real/a.mp4", "fake/Valid/b.mp4", "test/fake/M/c.mp4", "real/test/d.mp4")
    dataset = find("folder", tmp_path)
    assert splits(dataset) == {
        "train/real/a.mp4": "train",
        "fake/Valid/b.mp4": "val",
        "test/fake/M/c.mp4": "test",
        "real/test/d.mp4": "test",
    }
    assert {v.split_origin for v in dataset.videos} == {"official"}
    assert by_key(dataset)["fake/Valid/b.mp4"].method == "fake", "a split folder is no method"


def test_a_video_outside_the_split_folders_is_a_problem_and_gets_no_split(tmp_path):
    plant(tmp_path, "train/real/a.mp4", "fake/b.mp4")
    dataset = find("folder", tmp_path)
    assert splits(dataset)["fake/b.mp4"] == "none"
    assert any("1 videos lie in no split folder" in problem for problem in dataset.problems)


def test_a_split_ratio_overrides_split_folders_and_says_so(tmp_path):
    plant(
        tmp_path,
        *(f"train/{label}/{label}{n}.mp4" for label in ("real", "fake") for n in range(10)),
    )
    dataset = find("folder", tmp_path, split_ratio=(0.6, 0.2, 0.2))
    assert sorted(splits(dataset).values()).count("test") == 4
    assert any("not used because" in note for note in dataset.notes)


def test_equal_names_and_swaps_of_one_video_share_a_group(tmp_path):
    plant(
        tmp_path,
        "real/000.mp4",
        "real/003.mp4",
        "real/Lena.avi",
        "fake/m1/lena.mp4",
        "fake/m2/000_003.mp4",
    )
    found = by_key(find("folder", tmp_path))
    assert found["real/Lena.avi"].group == found["fake/m1/lena.mp4"].group
    assert (
        found["real/000.mp4"].group
        == found["fake/m2/000_003.mp4"].group
        == found["real/003.mp4"].group
    )
    assert found["real/Lena.avi"].group != found["real/000.mp4"].group


def test_one_file_name_in_every_folder_groups_nobody_but_the_folder_s_own_pair(tmp_path):
    people = range(10)
    plant(tmp_path, *(f"real/person{p}/video.mp4" for p in people))
    plant(tmp_path, *(f"fake/swap/person{p}/video.mp4" for p in people))
    dataset = find("folder", tmp_path)
    found = by_key(dataset)
    assert len({video.group for video in dataset.videos}) == 10
    for p in people:
        real, fake = found[f"real/person{p}/video.mp4"], found[f"fake/swap/person{p}/video.mp4"]
        assert (real.group, real.split) == (fake.group, fake.split)
    assert {video.split for video in dataset.videos} == {"train", "val", "test"}
    assert any("20 videos have a file name that repeats" in note for note in dataset.notes)


def test_an_id_that_a_swap_speaks_of_keeps_its_meaning_where_it_repeats(tmp_path):
    plant(tmp_path, "real/c23/000.mp4", "real/c40/000.mp4", "fake/m/000_003.mp4", "real/x.mp4")
    groups = {v.key: v.group for v in find("folder", tmp_path).videos}
    assert len(set(groups.values())) == 2 and list(groups.values()).count(groups["real/x.mp4"]) == 1


def test_splits_that_stay_empty_are_said(tmp_path):
    plant(tmp_path, "real/a.mp4", "fake/m/a.mp4")
    notes = find("folder", tmp_path).notes
    assert any("stay empty: 1 leakage groups are too few" in note for note in notes)


def test_a_picture_folder_is_a_video_and_a_picture_in_a_label_folder_is_one_of_one_frame(tmp_path):
    plant(tmp_path, "real/clip/1.png", "real/clip/2.png", "fake/M/clip2/1.jpg", "real/alone.png")
    dataset = find("folder", tmp_path)
    assert keys(dataset.videos) == ["fake/M/clip2", "real/alone.png", "real/clip"]
    found = by_key(dataset)
    assert found["fake/M/clip2"].method == "M"
    assert found["real/alone.png"].path == tmp_path / "real/alone.png"
    assert found["real/alone.png"].group == "alone"


def test_reals_alone_are_a_dataset_and_stills_of_one_name_share_a_group(tmp_path):
    plant(tmp_path, "train/real/a.JPG", "train/real/film/b.mp4", "val/real/c.png")
    found = by_key(find("folder", tmp_path))
    assert {key: (v.label, v.split) for key, v in found.items()} == {
        "train/real/a.JPG": (0, "train"),
        "train/real/film/b.mp4": (0, "train"),
        "val/real/c.png": (0, "val"),
    }
    pair = by_key(find("folder", plant(tmp_path / "pair", "real/x.jpg", "fake/swap/x.mp4")))
    assert len({video.group for video in pair.values()}) == 1


def test_same_stem_in_two_containers_and_awkward_names_get_their_own_ids(tmp_path):
    names = ["real/a.mp4", "real/a.avi", "real/ü b'\n.mp4", "fake/-x.mp4", "fake/%d.mp4"]
    ids = [video.video_id for video in find("folder", plant(tmp_path, *names)).videos]
    assert len({name.casefold() for name in ids}) == len(names)


@pytest.mark.parametrize("name", ["../x", "a b", "/tmp", ".."])
def test_a_name_that_is_no_safe_folder_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="becomes a folder of the cache"):
        find("folder", plant(tmp_path, "real/a.mp4"), name=name)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no videos"):
        find("folder", tmp_path)
