"""AV-Deepfake1M: other names than LAV-DF, stems that repeat everywhere, spans per modality."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant, plant_json
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests

FOLDER = "id00012/21Uxsk56VDQ/00001"


def row(file, kind, visual=(), audio=()):
    spans = sorted([*visual, *audio])
    return {
        "file": file,
        "original": None if kind == "real" else f"{FOLDER}/real.mp4",
        "split": "train",
        "modify_type": kind,
        "audio_model": "vits",
        "fake_segments": spans,
        "audio_fake_segments": list(audio),
        "visual_fake_segments": list(visual),
        "video_frames": 100,
        "audio_frames": 64000,
    }


TRAIN = [
    row(f"{FOLDER}/real.mp4", "real"),
    row(f"{FOLDER}/fake_video_real_audio.mp4", "visual_modified", visual=[[0.5, 1.0]]),
    row(f"{FOLDER}/real_video_fake_audio.mp4", "audio_modified", audio=[[2.0, 2.4]]),
    row(
        f"{FOLDER}/fake_video_fake_audio.mp4",
        "both_modified",
        visual=[[0.5, 1.0]],
        audio=[[2.0, 2.4]],
    ),
]
VAL = [row("val/id00099/abc/00007/real.mp4", "real")]


@pytest.fixture
def root(tmp_path):
    plant(
        tmp_path,
        *(f"train/{r['file']}" for r in TRAIN),
        "val/id00099/abc/00007/real.mp4",
        "test/000001.mp4",
    )
    plant_json(tmp_path / "train_metadata.json", TRAIN)
    plant_json(tmp_path / "val_metadata.json", VAL)
    (tmp_path / "test_files.txt").write_text("000001.mp4\n")
    return tmp_path


def test_every_field(root):
    video = by_key(find("avdeepfake1m", root))[f"train/{FOLDER}/fake_video_fake_audio"]
    assert video == Video(
        dataset="avdeepfake1m",
        key=f"train/{FOLDER}/fake_video_fake_audio",
        video_id="train-id00012-21Uxsk56VDQ-00001-fake_video_fake_audio",
        path=root / f"train/{FOLDER}/fake_video_fake_audio.mp4",
        label=1,
        method="both_modified",
        split="train",
        split_origin="official",
        target="id00012",
        pair=f"train/{FOLDER}/real",
        group="id00012",
        video_fake=True,
        audio_fake=True,
        fake_spans=((0.5, 1.0),),
    )


@pytest.mark.parametrize(
    ("mode", "label", "spans"),
    [("visual", 0, ()), ("audio", 1, ((2.0, 2.4),)), ("any", 1, ((2.0, 2.4),))],
)
def test_spans_follow_the_modality(root, mode, label, spans):
    video = by_key(find("avdeepfake1m", root, label_mode=mode))[
        f"train/{FOLDER}/real_video_fake_audio"
    ]
    assert (video.label, video.fake_spans) == (label, spans)


def test_any_mode_has_the_spans_of_both(root):
    video = by_key(find("avdeepfake1m", root, label_mode="any"))[
        f"train/{FOLDER}/fake_video_fake_audio"
    ]
    assert video.fake_spans == ((0.5, 1.0), (2.0, 2.4))


def test_paths_with_their_split_in_front_and_the_unlabelled_test(root):
    dataset = find("avdeepfake1m", root)
    assert by_key(dataset)["val/id00099/abc/00007/real"].split == "val" and not dataset.missing
    assert not any(key.startswith("test") for key in keys(dataset.videos))
    assert any("1 test videos are not used" in note for note in dataset.notes)


def test_bad_rows_and_missing_files_are_told(root):
    plant_json(root / "train_metadata.json", [*TRAIN, {"file": "x.mp4", "modify_type": "other"}, 7])
    (root / f"train/{FOLDER}/real.mp4").unlink()
    dataset = find("avdeepfake1m", root)
    assert any("2 rows" in problem for problem in dataset.problems)
    assert keys(dataset.missing) == [f"train/{FOLDER}/real"]


class TestShared(DatasetTests):
    dataset_name = "avdeepfake1m"

    @pytest.fixture
    def tree(self, root):
        return root
