"""UADFV: pairs by suffix, all test, frame folders where there are no videos."""

from __future__ import annotations

from tests.support.trees import by_key, find, plant
from unmask.pipeline.records import Video
from unmask.pipeline.sources.audit import audit


def test_every_field_and_the_published_counts(tmp_path):
    plant(
        tmp_path,
        *(f"real/{n:04d}.mp4" for n in range(49)),
        *(f"fake/{n:04d}_fake.mp4" for n in range(49)),
    )
    dataset = find("uadfv", tmp_path)
    assert by_key(dataset)["fake/0007_fake"] == Video(
        dataset="uadfv",
        key="fake/0007_fake",
        video_id="fake-0007_fake",
        path=tmp_path / "fake/0007_fake.mp4",
        label=1,
        method="FakeApp",
        split="test",
        split_origin="all-test",
        target="0007",
        pair="real/0007",
        group="0007",
        video_fake=True,
    )
    assert by_key(dataset)["real/0007"].pair is None
    assert audit(dataset).ok
    (tmp_path / "fake/0000_fake.mp4").unlink()
    assert audit(find("uadfv", tmp_path)).faults == ["fakes: 49 published, 48 found"]


def test_frames_are_used_only_without_videos(tmp_path):
    plant(
        tmp_path, "real/frames/0000/000.png", "fake/0000_fake.mp4", "fake/frames/0000_fake/000.png"
    )
    found = by_key(find("uadfv", tmp_path))
    assert found["real/0000"].path == tmp_path / "real/frames/0000"
    assert found["fake/0000_fake"].path == tmp_path / "fake/0000_fake.mp4"


def test_own_split_keeps_pairs_together(tmp_path):
    plant(
        tmp_path,
        *(f"real/{n:04d}.mp4" for n in range(20)),
        *(f"fake/{n:04d}_fake.mp4" for n in range(20)),
    )
    dataset = find("uadfv", tmp_path, split_ratio=(0.5, 0.25, 0.25))
    found = by_key(dataset)
    assert all(v.split == found[v.pair].split for v in dataset.videos if v.pair)
    assert {v.split for v in dataset.videos} == {"train", "val", "test"}
