"""Neighbours' lists become our manifests with the right polarity, and their known traps are
undone.
"""

from __future__ import annotations

import json

import pytest

from tests.support.cached_folders import plant_pictures
from unmask.pipeline.errors import ManifestError, UsageError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.foreign_lists import import_list, write_imported


def found(imported):
    return {
        split: [(e.folder, e.label) for e in entries]
        for split, entries in imported.splits.items()
        if entries
    }


def bench(folder, count=3, mark="/"):
    return {
        "label": "x",
        "frames": [f"{folder}/{n:03d}.png".replace("/", mark) for n in range(count)],
    }


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def test_deepfakebench_ffpp_with_a_compression_level(tmp_path):
    def videos(base, *names):
        return {
            "c23": {n: bench(f"{base}/c23/frames/{n}") for n in names},
            "c40": {n: bench(f"{base}/c40/frames/{n}") for n in names},
        }

    path = write_json(
        tmp_path / "FaceForensics++.json",
        {
            "FaceForensics++": {
                "FF-real": {
                    "train": videos("orig", "071"),
                    "val": videos("orig", "720"),
                    "test": videos("orig", "000"),
                },
                "FF-DF": {
                    "train": videos("Deepfakes", "071_054"),
                    "val": {"c23": {}, "c40": {}},
                    "test": videos("Deepfakes", "000_003"),
                },
                "FF-NT": {
                    "train": videos("NeuralTextures", "071_054"),
                    "val": {"c23": {}, "c40": {}},
                    "test": {"c23": {}, "c40": {}},
                },
            }
        },
    )
    assert found(import_list("deepfakebench", path, compression="c23")) == {
        "train": [
            ("orig/c23/frames/071", 0),
            ("Deepfakes/c23/frames/071_054", 1),
            ("NeuralTextures/c23/frames/071_054", 1),
        ],
        "val": [("orig/c23/frames/720", 0)],
        "test": [("orig/c23/frames/000", 0), ("Deepfakes/c23/frames/000_003", 1)],
    }
    with pytest.raises(ManifestError, match="--compression: c23, c40"):
        import_list("deepfakebench", path)


def test_deepfakebench_celebdf_loses_its_test_videos_from_train_and_val(tmp_path):
    every = {n: bench(f"Celeb-real/frames/{n}", mark="\\") for n in ("id0_0000", "id1_0007")}
    test = {"id1_0007": every["id1_0007"]}
    path = write_json(
        tmp_path / "c.json",
        {"Celeb-DF-v2": {"CelebDFv2_real": {"train": every, "val": test, "test": test}}},
    )
    imported = import_list("deepfakebench", path)
    assert found(imported) == {
        "train": [("Celeb-real/frames/id0_0000", 0)],
        "test": [("Celeb-real/frames/id1_0007", 0)],
    }
    assert imported.notes == [
        "1 of 1 val videos left out: they are also in a later split",
        "1 of 2 train videos left out: they are also in a later split",
    ]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("DFDC_Real", 0),
        ("DFDC_Fake", 1),
        ("DFDCP_FakeA", 1),
        ("UADFV_Real", 0),
        ("FF-FH", 1),
        ("DFD_fake", 1),
    ],
)
def test_deepfakebench_names_give_the_polarity(tmp_path, name, label):
    path = write_json(tmp_path / "x.json", {"set": {name: {"test": {"v": bench("a/v")}}}})
    assert found(import_list("deepfakebench", path)) == {"test": [("a/v", label)]}


def test_a_video_without_frames_costs_itself_only_and_is_counted(tmp_path):
    videos = {"v": bench("a/v"), "w": {"label": "DFD_real", "frames": []}}
    path = write_json(tmp_path / "x.json", {"set": {"DFD_real": {"test": videos}}})
    imported = import_list("deepfakebench", path)
    assert found(imported) == {"test": [("a/v", 0)]}
    (note,) = imported.notes
    assert note == "1 of 2 videos left out: the list names no frames of them, e.g. of 'w'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"set": {"Unclear": {"test": {"v": bench("a")}}}}, "neither real nor fake"),
        ({"set": {"DFD_real": {"later": {"v": bench("a")}}}}, "no split"),
        ({"set": {"DFD_real": {"test": {"v": {"frames": "a/1.png"}}}}}, "lists no frames"),
        ({"set": {"DFD_real": {"test": {"v": {"frames": []}}}}}, "no entries"),
        ({"set": {"DFD_real": {"test": {"v": {"frames": ["a/1.png", "b/1.png"]}}}}}, "2 folders"),
        (
            {
                "set": {
                    "DFD_real": {"test": {"v": bench("a")}},
                    "DFD_fake": {"test": {"v": bench("a")}},
                }
            },
            "real and a fake",
        ),
        ({"set": 5}, "not an object"),
        ({}, "no entries"),
    ],
)
def test_deepfakebench_refuses_what_it_would_have_to_guess(tmp_path, content, message):
    with pytest.raises((ManifestError, UsageError), match=message):
        import_list("deepfakebench", write_json(tmp_path / "x.json", content))


def test_tall_lines_with_spaces_one_based_and_either_polarity(tmp_path):
    path = tmp_path / "ffpp_train.txt"
    path.write_text("real/a b 1 120 0\nfake/x 1 4 1\nfake/x 5 8 1\n")
    imported = import_list("tall", path)
    assert found(imported) == {"train": [("real/a b", 0), ("fake/x", 1)]}
    assert any("1 was read as fake" in n for n in imported.notes) and any(
        "ranges are not kept" in n for n in imported.notes
    )
    assert found(import_list("tall", path, fake_is=0)) == {
        "train": [("real/a b", 1), ("fake/x", 0)]
    }


@pytest.mark.parametrize(
    "line", ["a 0 5 1", "a 5 4 1", "a 1 5 2", "a 1 5", "1 5 1", "a 1 5 1\na 1 5 0"]
)
def test_tall_bad_lines_are_named(tmp_path, line):
    path = tmp_path / "t.txt"
    path.write_text(f"good 1 2 0\n{line}\n")
    with pytest.raises(ManifestError, match=r"t\.txt:[23]: "):
        import_list("tall", path)


def test_clrnet_tree_by_folder_and_read_back_with_our_reader(tmp_path):
    for split in ("train", "val"):
        for label in ("real", "fake"):
            for video in (2, 10):
                plant_pictures(tmp_path, f"DF/{split}/{label}/{video}")
    plant_pictures(tmp_path, "DF/other/real/1")
    imported = import_list("clrnet", tmp_path)
    assert found(imported)["train"] == [
        ("DF/train/fake/2", 1),
        ("DF/train/fake/10", 1),
        ("DF/train/real/2", 0),
        ("DF/train/real/10", 0),
    ]
    written = write_imported(imported, tmp_path)
    assert {path.name: n for path, n in written.items()} == {"train.txt": 4, "val.txt": 4}
    assert read_manifest(tmp_path / "val.txt", tmp_path / "nocache").labels == {0, 1}


def test_xception_lstm_lines_relative_and_absolute(tmp_path):
    path = tmp_path / "test_list.txt"
    path.write_text(f"{tmp_path}/faces/real 1 0\n./faces/fake1 1\n")
    assert found(import_list("xception-lstm", path)) == {
        "test": [("faces/real 1", 0), ("faces/fake1", 1)]
    }
    path.write_text("/elsewhere/x 1\nfaces/y 3\n")
    with pytest.raises(ManifestError, match=r"(?s)2 bad lines.*:1: .*outside.*:2: label '3'"):
        import_list("xception-lstm", path)


def test_unknown_forms_and_absent_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="known: deepfakebench, tall, clrnet, xception-lstm"):
        import_list("other", tmp_path)
    with pytest.raises(UsageError, match="no file"):
        import_list("tall", tmp_path / "absent.txt")
