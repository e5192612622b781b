"""ForgeryNet: lines with a variable number of columns, fake in some segments only."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.layouts.forgerynet import parse_line
from unmask.testing.datasets import DatasetTests

TRAIN = (
    "3 train_video_release/19/a.mp4 0 40 0 40 25 1 65 10 0 1 1 7\n"
    "1 train_video_release/0/real.mp4 0 75 0 0 0 0\n"
    "2 broken.mp4 0 10 1 1 1 7\n"
    "1 train_video_release/0/odd.mp4 0 75 1 0 0 0\n"
)


@pytest.fixture
def root(tmp_path):
    names = ["19/a.mp4", "0/real.mp4", "0/odd.mp4", "0/extra.mp4"]
    plant(
        tmp_path,
        *(f"Training/video/train_video_release/{name}" for name in names),
        "Test/video/x.mp4",
    )
    (tmp_path / "Training/video_list.txt").write_text(TRAIN)
    return tmp_path


def test_every_field(root):
    found = by_key(find("forgerynet", root))
    assert found["train/train_video_release/19/a"] == Video(
        dataset="forgerynet",
        key="train/train_video_release/19/a",
        video_id="train-train_video_release-19-a",
        path=root / "Training/video/train_video_release/19/a.mp4",
        label=1,
        method="19",
        split="train",
        split_origin="official",
        group="train/train_video_release/19/a",
        video_fake=True,
        fake_frames=((40, 65),),
    )
    assert (
        found["train/train_video_release/0/real"].label,
        found["train/train_video_release/0/real"].fake_frames,
    ) == (0, ())


def test_bad_and_contradicting_lines_unlisted_files_and_absent_labels_are_told(root):
    dataset = find("forgerynet", root)
    assert any("1 lines are not" in p and "line 3" in p for p in dataset.problems)
    assert any(
        "1 lines have a label that contradicts" in p and "line 4" in p for p in dataset.problems
    )
    assert dataset.unlisted == ("Training/video/train_video_release/0/extra.mp4",)
    assert any(note.startswith("Test: no video_list.txt") for note in dataset.notes)
    (root / "Training/video/train_video_release/19/a.mp4").unlink()
    assert keys(find("forgerynet", root).missing) == ["train/train_video_release/19/a"]


@pytest.mark.parametrize(
    "line",
    ["", "x", "1", "0 a 0 0 0", "1 a 0 5 2 1 1 1", "1 a 0 5 1 2 1 1", "1 a 0 -5 1 1 1 1", "-1 a"],
)
def test_lines_that_do_not_fit(line):
    assert parse_line(line) is None


def test_without_any_list_it_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no video_list\.txt"):
        find("forgerynet", plant(tmp_path, "Training/video/a.mp4"))


class TestShared(DatasetTests):
    dataset_name = "forgerynet"

    @pytest.fixture
    def tree(self, root):
        return root
