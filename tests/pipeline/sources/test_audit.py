"""Verify: readability without opening, pairs, leakage, and probing with the real decoder."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

from tests.support.trees import find, plant, plant_ffpp
from unmask.pipeline.extraction.probe import probe
from unmask.pipeline.records import Video
from unmask.pipeline.sources.audit import audit, why_unreadable
from unmask.pipeline.sources.dataset import Dataset


def test_what_cannot_be_read_is_found_without_blocking(tmp_path):
    plant(tmp_path, "full.mp4", "frames/1.png")
    plant(tmp_path, "empty.mp4", data=b"")
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    assert {name: why_unreadable(tmp_path / name) for name in os.listdir(tmp_path)} == {
        "full.mp4": "",
        "frames": "",
        "empty.mp4": "zero bytes",
        "fifo.mp4": "not a regular file",
        "gone.mp4": "No such file or directory",
    }


def dataset_of(tmp_path, *videos):
    plant(tmp_path, "x.mp4")
    base = Video(
        dataset="d",
        key="",
        video_id="",
        path=tmp_path / "x.mp4",
        label=0,
        split="train",
        split_origin="official",
    )
    return Dataset("d", tmp_path, tuple(replace(base, **fields) for fields in videos))


def test_pairs_that_are_absent_warn_and_pairs_that_are_fakes_are_faults(tmp_path):
    report = audit(
        dataset_of(
            tmp_path,
            {"key": "r"},
            {"key": "a", "label": 1, "pair": "gone"},
            {"key": "b", "label": 1, "pair": "a"},
        )
    )
    assert report.warnings == ["1 fakes without their original, e.g. 'a'"]
    assert report.faults == ["1 fakes whose original is labelled fake, e.g. 'b'"]


def test_leakage_is_ours_in_derived_splits_and_the_owners_in_official_ones(tmp_path):
    ours = audit(
        dataset_of(
            tmp_path,
            {"key": "a", "group": "g", "split": "train", "split_origin": "derived"},
            {"key": "b", "group": "g", "split": "test", "split_origin": "derived"},
        )
    )
    theirs = audit(
        dataset_of(
            tmp_path, {"key": "a", "group": "g"}, {"key": "b", "group": "g", "split": "test"}
        )
    )
    assert "several derived splits" in ours.faults[0] and not theirs.faults
    assert "several official splits" in theirs.warnings[0]


def test_unfinished_downloads_are_a_fault_and_rubbish_is_not(tmp_path):
    plant(tmp_path, "real/a.mp4", "fake/b.mp4", ".DS_Store")
    assert audit(find("folder", tmp_path)).ok
    plant(tmp_path, "fake/c.mp4.part")
    assert audit(find("folder", tmp_path)).faults == ["unfinished downloads: 1"]


def test_probe_reports_real_videos_and_damage(tmp_path, media):
    for label, name in (
        ("real", "real_closeup_480x480_h264_aac.mp4"),
        ("fake", "derived_512x384_mpeg4.avi"),
    ):
        (tmp_path / label).mkdir()
        shutil.copy(media / "videos" / name, tmp_path / label)
    plant(tmp_path, "fake/text.mp4", data=b"not a video")
    dataset = find("folder", tmp_path)
    report = audit(dataset)
    seen = []
    probe(dataset, report, lambda: seen.append(1), jobs=1)
    result = {p.key.rpartition("/")[2]: p for p in report.probes}
    good = result["real_closeup_480x480_h264_aac.mp4"]
    assert (good.codec, good.pixel_format, good.width, good.height, good.frames) == (
        "h264",
        "yuv420p",
        480,
        480,
        216,
    )
    assert result["derived_512x384_mpeg4.avi"].frames == 100
    assert result["text.mp4"].reason == "not_a_video"
    assert report.faults == ["videos that cannot be used: 1 (not_a_video 1)"] and len(seen) == 3


def test_a_method_that_was_never_downloaded_is_named_with_the_way_around_it(tmp_path):
    lists = {"train": [["000", "003"]], "val": [["001", "004"]], "test": [["002", "005"]]}
    plant_ffpp(tmp_path, lists, methods=("Deepfakes", "FaceSwap"))
    (note,) = [note for note in audit(find("ffpp", tmp_path)).notes if "nothing of" in note]
    assert (
        note == "nothing of Face2Face, NeuralTextures is here; "
        "--methods Deepfakes,FaceSwap asks for the rest"
    )
    asked = audit(find("ffpp", tmp_path, methods=("Deepfakes", "FaceSwap")))
    assert not asked.missing and not [note for note in asked.notes if "nothing of" in note]
