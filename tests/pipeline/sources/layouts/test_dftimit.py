"""DeepfakeTIMIT: everything in the release is fake; reals are VidTIMIT's picture folders without
extension.
"""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests

FAKE = "higher_quality/fadg0/sa1-video-fram1"


@pytest.fixture
def root(tmp_path):
    plant(
        tmp_path / "DeepfakeTIMIT",
        *(
            f"{q}_quality/{s}.avi"
            for q in ("higher", "lower")
            for s in ("fadg0/sa1-video-fram1", "fram1/sa1-video-fadg0")
        ),
        "higher_quality/fadg0/sa1.wav",
        "fadg0-original.mov",
    )
    return tmp_path


def plant_vidtimit(root):
    plant(
        root / "VidTIMIT",
        *(
            f"{s}/video/{v}/{n:03d}"
            for s in ("fadg0", "fram1", "mccs0")
            for v in ("sa1", "head")
            for n in (1, 2)
        ),
    )


def test_every_field(root):
    plant_vidtimit(root)
    found = by_key(find("dftimit", root / "DeepfakeTIMIT"))
    assert found[FAKE] == Video(
        dataset="dftimit",
        key=FAKE,
        video_id="higher_quality-fadg0-sa1-video-fram1",
        path=root / "DeepfakeTIMIT" / f"{FAKE}.avi",
        label=1,
        method="higher_quality",
        split="test",
        split_origin="all-test",
        target="fadg0",
        source="fram1",
        pair="VidTIMIT/fadg0/sa1",
        group="fadg0-fram1",
        video_fake=True,
        audio_fake=False,
    )
    assert found["VidTIMIT/fadg0/sa1"] == Video(
        dataset="dftimit",
        key="VidTIMIT/fadg0/sa1",
        video_id="VidTIMIT-fadg0-sa1",
        path=root / "VidTIMIT/fadg0/video/sa1",
        first_frame=1,
        label=0,
        method="real",
        split="test",
        split_origin="all-test",
        target="fadg0",
        group="fadg0-fram1",
        video_fake=False,
        audio_fake=False,
    )


def test_without_vidtimit_there_is_no_real_and_it_says_so(root):
    dataset = find("dftimit", root)
    assert {v.label for v in dataset.videos} == {1} and len(dataset.videos) == 4
    assert any("no reals" in note and "VidTIMIT" in note for note in dataset.notes)
    assert dataset.unlisted == ("fadg0-original.mov",)


@pytest.mark.parametrize("how", ["beside", "inside", "named"])
def test_reals_are_only_the_recordings_behind_the_fakes(root, tmp_path_factory, how):
    place = {
        "beside": root,
        "inside": root / "DeepfakeTIMIT",
        "named": tmp_path_factory.mktemp("far"),
    }[how]
    plant_vidtimit(place)
    reals = place / "VidTIMIT" if how == "named" else None
    dataset = find("dftimit", root / "DeepfakeTIMIT", reals=reals)
    assert [key for key in keys(dataset.videos) if key.startswith("Vid")] == [
        "VidTIMIT/fadg0/sa1",
        "VidTIMIT/fram1/sa1",
    ]


def test_both_directions_of_a_swap_are_one_group(root):
    assert {v.group for v in find("dftimit", root).videos} == {"fadg0-fram1"}


class TestShared(DatasetTests):
    dataset_name = "dftimit"

    @pytest.fixture
    def tree(self, root):
        plant_vidtimit(root)
        return root
