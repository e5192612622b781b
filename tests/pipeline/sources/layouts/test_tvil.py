"""TVIL: an object of rows, any spelling of the splits, no faces."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, plant, plant_json
from unmask.pipeline.records import Video


def test_every_field_splits_and_unlisted_files(tmp_path):
    rows = {
        "5ef6573a99_result": {
            "file": "5ef6573a99_result.mp4",
            "split": "Train",
            "duration": 1.6,
            "video_frames": 48,
            "fake_periods": [[0.4, 2.0]],
        },
        "real1": {
            "file": "real1.mp4",
            "split": "VALID",
            "duration": 1.0,
            "video_frames": 30,
            "fake_periods": [],
        },
        "gone": {
            "file": "gone.mp4",
            "split": "test",
            "duration": 1.0,
            "video_frames": 30,
            "fake_periods": [[0, 1]],
        },
        "odd": {"file": "odd.mp4", "split": "other"},
    }
    plant_json(tmp_path / "annotations/metadata.json", rows)
    plant(
        tmp_path, "videos/E2FGVI/5ef6573a99_result.mp4", "videos/real/real1.mp4", "videos/extra.mp4"
    )
    dataset = find("tvil", tmp_path)
    found = by_key(dataset)
    assert found["5ef6573a99_result"] == Video(
        dataset="tvil",
        key="5ef6573a99_result",
        video_id="5ef6573a99_result",
        path=tmp_path / "videos/E2FGVI/5ef6573a99_result.mp4",
        label=1,
        method="E2FGVI",
        split="train",
        split_origin="official",
        group="5ef6573a99",
        video_fake=True,
        fake_spans=((0.4, 1.6),),
    )
    assert (found["real1"].label, found["real1"].split, found["real1"].method) == (0, "val", "real")
    assert [v.key for v in dataset.missing] == ["gone"] and dataset.unlisted == (
        "videos/extra.mp4",
    )
    assert any("'odd'" in problem for problem in dataset.problems)
    assert any("no_face" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "periods", [None, "0-1", {"0": 1}, [0.5, 1.0], [["a", 1]], [[0, 1, 2]], [[3.0, 4.0]], [[1, 1]]]
)
def test_periods_that_cannot_be_read_make_no_video_real(tmp_path, periods):
    """Of the last two nothing lies inside the video, though somebody wrote that it is fake."""
    good = {"file": "a.mp4", "split": "train", "duration": 2.0, "fake_periods": [[0.5, 1.0]]}
    rows = {"a": good, "b": good | {"file": "b.mp4", "fake_periods": periods}}
    plant_json(tmp_path / "annotations/metadata.json", rows)
    plant(tmp_path, "a.mp4", "b.mp4")
    dataset = find("tvil", tmp_path)
    assert [(video.key, video.label) for video in dataset.videos] == [("a", 1)]
    (problem,) = [p for p in dataset.problems if "'b'" in p]
    assert problem.startswith("metadata.json: 'b' is left out, its fake_periods")
    assert dataset.unlisted == ("b.mp4",)
