"""datasets on the command line: the table, the expected tree, and verify with its exit codes."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.trees import SMALL, plant, plant_ffpp
from unmask.commands.main import main
from unmask.pipeline.sources.registry import SOURCES


def test_the_table_names_every_dataset(capsys):
    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name} " in text or text.startswith(name) for name in SOURCES)
    assert all(word in text for word in ("kind:", "size:", "access:", "licence:", "tasks:"))


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_name_prints_tree_labels_and_splits(capsys, name):
    assert main(["datasets", name]) == 0
    text = capsys.readouterr().out
    source = SOURCES[name]
    assert (
        source.tree in text
        and source.labels in text
        and source.splits in text
        and source.licence in text
    )


def test_a_typo_is_one_line_and_exit_two(capsys):
    assert main(["datasets", "celebdf22"]) == 2
    assert (
        capsys.readouterr().err == "unmask: no dataset 'celebdf22'; did you mean 'celebdf2'? "
        "(`datasets` lists all of them)\n"
    )


def test_verify_of_a_whole_tree_is_zero_and_of_a_damaged_one_three(capsys, tmp_path):
    root = plant_ffpp(tmp_path / "ff", SMALL)
    arguments = ["datasets", "ffpp", "--root", str(root), "--verify"]
    assert main(arguments) == 0
    assert "all is well" in capsys.readouterr().out
    (root / "original_sequences/youtube/c23/videos/000.mp4").unlink()
    plant(root, "manipulated_sequences/FaceSwap/c23/videos/odd.mp4")
    assert main(arguments) == 3
    text = capsys.readouterr().out
    assert (
        "missing: 1\n  youtube/c23/000" in text
        and "fault: videos that the lists name and the disk lacks: 1" in text
    )
    assert "unlisted: 1\n  manipulated_sequences/FaceSwap/c23/videos/odd.mp4" in text
    row = next(line for line in text.splitlines() if line.startswith("test   real"))
    assert row.split() == ["test", "real", "real", "2", "1", "1", "0"]


def test_json_holds_every_path(capsys, tmp_path):
    root = plant_ffpp(tmp_path / "ff", SMALL)
    shutil.rmtree(root / "manipulated_sequences/NeuralTextures")
    assert main(["datasets", "ffpp", "--root", str(root), "--verify", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and len(report["missing"]) == 8
    assert {
        "split": "val",
        "method": "NeuralTextures",
        "label": 1,
        "expected": 2,
        "found": 0,
        "missing": 2,
        "unreadable": 0,
    } in report["rows"]


def test_names_with_escapes_or_raw_bytes_do_not_reach_the_terminal(capsys, tmp_path):
    plant(tmp_path, "real/a.mp4")
    plant(tmp_path, "fake/\x1b[31mred\n.mp4", "fake/\udcff.mp4", data=b"")
    assert main(["datasets", "folder", "--root", str(tmp_path), "--verify"]) == 3
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\\x1b[31mred\\n" in text and "\\udcff" in text
    assert main(["datasets", "folder", "--root", str(tmp_path), "--verify", "--json"]) == 3
    assert len(json.loads(capsys.readouterr().out)["unreadable"]) == 2


def test_options_reach_the_source(capsys, tmp_path):
    root = plant_ffpp(tmp_path / "ff", SMALL, compression="c0")
    base = ["datasets", "ffpp", "--root", str(root), "--verify"]
    assert main(base) == 2
    assert "raw is there: --compression raw" in capsys.readouterr().err
    assert main([*base, "--compression", "raw", "--methods", "df,FaceSwap"]) == 0
    assert (
        "Face2Face"
        not in capsys.readouterr().out.split("all is well")[-2].split("something is off")[-1]
    )
    assert main([*base, "--compression", "raw", "--split-ratio", "0.5,0.25,0.25"]) == 0
    assert "own split" in capsys.readouterr().out
    assert main([*base, "--split-ratio", "0.9,0.9,x"]) == 2


def test_probe_and_json_need_verify(capsys):
    assert main(["datasets", "ffpp", "--probe"]) == 2
    assert "need --verify" in capsys.readouterr().err


def test_probe_opens_real_files(capsys, tmp_path, media):
    for label, name in (
        ("real", "pair_real_car_1080p.mp4"),
        ("fake", "pair_fake_roop_car_1080p.mp4"),
    ):
        (tmp_path / label).mkdir()
        shutil.copy(media / "videos" / name, tmp_path / label)
    arguments = ["datasets", "folder", "--root", str(tmp_path), "--verify", "--probe"]
    assert main(arguments) == 0
    assert "2  h264 yuv420p 1920x1080 24 fps" in capsys.readouterr().out
    plant(tmp_path, "fake/text.mp4", data=b"hello")
    assert main(arguments) == 3
    assert "fake/text.mp4: not_a_video" in capsys.readouterr().out
