"""DeeperForensics: reals are FF++ originals, variants are the same swaps, lists differ from the
FF++ split.
"""

from __future__ import annotations

import pytest

from tests.support.trees import SMALL, by_key, find, keys, plant, plant_ffpp
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video

LISTS = {"train": ["000_M101"], "val": ["071_W004"], "test": ["054_M010", "720_W001"]}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "DeeperForensics-1.0"
    for split, names in LISTS.items():
        plant(root, f"lists/splits/{split}.txt", data="".join(f"{n}.mp4\n" for n in names).encode())
        plant(
            root,
            *(
                f"manipulated_videos/{v}/{n}.mp4"
                for v in ("end_to_end", "end_to_end_level_1")
                for n in names
            ),
        )
    return plant(root, "source_videos/M101/M101_light_left_happy_camera_front.mp4")


def test_every_field(root, tmp_path):
    plant_ffpp(tmp_path / "FaceForensics++", SMALL)
    found = by_key(find("deeperforensics", root))
    assert found["end_to_end/000_M101"] == Video(
        dataset="deeperforensics",
        key="end_to_end/000_M101",
        video_id="end_to_end-000_M101",
        path=root / "manipulated_videos/end_to_end/000_M101.mp4",
        label=1,
        method="end_to_end",
        split="train",
        split_origin="official",
        target="000",
        source="M101",
        pair="youtube/c23/000",
        group="000",
        video_fake=True,
    )
    assert found["youtube/c23/000"] == Video(
        dataset="deeperforensics",
        key="youtube/c23/000",
        video_id="youtube-c23-000",
        path=tmp_path / "FaceForensics++/original_sequences/youtube/c23/videos/000.mp4",
        label=0,
        method="real",
        split="train",
        split_origin="official",
        target="000",
        group="000",
        video_fake=False,
    )


def test_studio_recordings_are_never_the_reals(root):
    dataset = find("deeperforensics", root)
    assert {v.label for v in dataset.videos} == {1}
    assert any("no reals" in note for note in dataset.notes) and any(
        "not the reals" in n for n in dataset.notes
    )


@pytest.mark.parametrize("place", ["reals", "environment"])
def test_reals_follow_their_targets_and_the_leak_against_ffpp_is_counted(
    root, tmp_path, monkeypatch, place
):
    where = plant_ffpp(tmp_path / "far" / "ffpp", SMALL)
    monkeypatch.setenv(
        "UNMASK_DATA", str(tmp_path / "far") if place == "environment" else "nowhere"
    )
    dataset = find("deeperforensics", root, reals=where if place == "reals" else None)
    assert {v.target: v.split for v in dataset.videos if v.label == 0} == {
        "000": "train", "071": "val", "054": "test", "720": "test",
    }  # fmt: skip
    assert any(
        note.startswith("1 test targets are training videos of FF++") for note in dataset.notes
    )


def test_one_variant_unless_asked(root):
    assert {v.method for v in find("deeperforensics", root).videos} == {"end_to_end"}
    assert len(find("deeperforensics", root, methods=("all",)).videos) == 8
    assert {
        v.method for v in find("deeperforensics", root, methods=("end_to_end_LEVEL_1",)).videos
    } == {"end_to_end_level_1"}
    with pytest.raises(UsageError, match="did you mean 'end_to_end_level_1'"):
        find("deeperforensics", root, methods=("end_to_end_level1",))


def test_missing_lists_and_files(root):
    (root / "manipulated_videos/end_to_end/720_W001.mp4").unlink()
    assert keys(find("deeperforensics", root).missing) == ["end_to_end/720_W001"]
    (root / "lists/splits/val.txt").unlink()
    with pytest.raises(UsageError, match=r"val\.txt not in"):
        find("deeperforensics", root)
