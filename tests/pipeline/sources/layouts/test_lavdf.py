"""LAV-DF: fake periods in seconds, files without metadata, labels by modality."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant, plant_json
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests


def row(file, video=False, audio=False, periods=(), original=None, duration=4.0, split=None):
    return {
        "file": file,
        "n_fakes": len(periods),
        "fake_periods": [list(p) for p in periods],
        "duration": duration,
        "original": original,
        "modify_video": video,
        "modify_audio": audio,
        "split": split or file.split("/")[0],
        "video_frames": 100,
        "audio_channels": 1,
        "audio_frames": 64000,
    }


ROWS = [
    row("train/000001.mp4"),
    row(
        "train/000002.mp4",
        video=True,
        audio=True,
        periods=[(1.0, 1.5), (0.2, 0.4)],
        original="000001.mp4",
    ),
    row("dev/000003.mp4", audio=True, periods=[(2.0, 2.5)], original="dev/000004.mp4"),
    row("dev/000004.mp4"),
    row("test/000005.mp4", video=True, periods=[(3.5, 4.75)], original=None),
]


def test_a_word_is_read_and_what_is_no_answer_is_no_label(tmp_path):
    rows = [
        row("train/0.mp4", video="false", audio="False"),
        row("train/1.mp4", video="true", audio=0),
        row("train/2.mp4", video=1.0, audio="no"),
        row("train/3.mp4", video=None),
        row("train/4.mp4", video="maybe"),
        row("train/5.mp4", audio=[True]),
    ]
    plant(tmp_path, *(r["file"] for r in rows))
    plant_json(tmp_path / "metadata.min.json", rows)
    dataset = find("lavdf", tmp_path)
    assert {key: video.label for key, video in by_key(dataset).items()} == {
        "train/0": 0,
        "train/1": 1,
        "train/2": 1,
    }
    assert dataset.unlisted == ("train/3.mp4", "train/4.mp4", "train/5.mp4")
    (problem,) = [p for p in dataset.problems if "neither" in p]
    assert problem.startswith("metadata.min.json: 3 rows are left out") and "train/3.mp4" in problem


@pytest.fixture
def root(tmp_path):
    plant(tmp_path, *(r["file"] for r in ROWS))
    plant_json(tmp_path / "metadata.min.json", ROWS)
    return tmp_path


def test_every_field(root):
    found = by_key(find("lavdf", root))
    assert found["train/000002"] == Video(
        dataset="lavdf",
        key="train/000002",
        video_id="train-000002",
        path=root / "train/000002.mp4",
        label=1,
        method="both",
        split="train",
        split_origin="official",
        pair="train/000001",
        group="000001",
        video_fake=True,
        audio_fake=True,
        fake_spans=((0.2, 0.4), (1.0, 1.5)),
    )
    assert found["train/000001"] == Video(
        dataset="lavdf",
        key="train/000001",
        video_id="train-000001",
        path=root / "train/000001.mp4",
        label=0,
        method="real",
        split="train",
        split_origin="official",
        group="000001",
        video_fake=False,
        audio_fake=False,
    )


def test_an_audio_fake_is_real_and_has_no_spans_for_a_visual_detector(root):
    visual, both = (
        by_key(find("lavdf", root))["dev/000003"],
        by_key(find("lavdf", root, label_mode="any"))["dev/000003"],
    )
    assert (visual.label, visual.fake_spans, visual.split) == (0, (), "val")
    assert (both.label, both.fake_spans) == (1, ((2.0, 2.5),))


def test_periods_beyond_the_end_are_clipped_and_told(root):
    dataset = find("lavdf", root)
    assert by_key(dataset)["test/000005"].fake_spans == ((3.5, 4.0),)
    assert any("1 fake periods" in note for note in dataset.notes)


def test_files_without_metadata_are_unlisted_and_never_real(root):
    plant(root, "test/138010.mp4")
    (root / "train/000001.mp4").unlink()
    dataset = find("lavdf", root)
    assert dataset.unlisted == ("test/138010.mp4",) and "test/138010" not in by_key(dataset)
    assert keys(dataset.missing) == ["train/000001"]


def test_the_full_metadata_serves_as_well(root):
    (root / "metadata.min.json").rename(root / "metadata.json")
    assert len(find("lavdf", root).videos) == 5


class TestShared(DatasetTests):
    dataset_name = "lavdf"

    @pytest.fixture
    def tree(self, root):
        return root
