"""What detectors say of single clips, and whether the table counts it as right."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.openclips.verdicts import LIST, main, read_samples, said
from unmask.pipeline.errors import UsageError


def member(verdict: str, score: float) -> SimpleNamespace:
    return SimpleNamespace(verdict=verdict, score=score)


@pytest.mark.parametrize(
    ("verdict", "score", "label", "cell", "mark"),
    [
        ("fake", 0.934, "fake", "fake 0.93, right", "right"),
        ("fake", 0.934, "real", "fake 0.93, wrong", "wrong"),
        ("real", 0.02, "real", "real 0.02, right", "right"),
        ("unsure", 0.5, "fake", "unsure 0.50", ""),
    ],
)
def test_a_verdict_is_right_wrong_or_neither(verdict, score, label, cell, mark) -> None:
    answer = SimpleNamespace(members=(member("real", 0.0), member(verdict, score)), verdict="")
    assert said(answer, 1, label) == (cell, mark)


def test_a_clip_without_a_face_is_neither() -> None:
    assert said(SimpleNamespace(members=(), verdict="no face"), 0, "fake") == ("no face", "")


def test_every_row_says_what_it_is_and_where_it_is_from() -> None:
    with LIST.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file"] for row in rows}) == len(rows) == 13
    for row in rows:
        assert row["label"] in ("real", "fake") and row["what"] and row["licence"]
        assert re.match(r"[\w.-]+/[\w.-]+@[0-9a-f]{7} \S", row["origin"]), row


def test_a_folder_without_any_of_them_is_one_line(tmp_path, capsys) -> None:
    with pytest.raises(UsageError, match="none of the 13 listed clips is in it"):
        read_samples(LIST, tmp_path)
    assert main([str(tmp_path)]) == 2
    assert "name at least one --run or --model" in capsys.readouterr().err


def test_it_runs_on_clips_and_a_release(media: Path, tmp_path: Path, capsys) -> None:
    weights = media / "open" / "weights" / "mesonet" / "Meso4_DF.h5"
    if not weights.is_file():
        pytest.skip("the released weights are not among the test media")
    (tmp_path / "Meso4_DF.h5").symlink_to(weights)
    (tmp_path / "clips").mkdir()
    for name in ("derived_400x400_vp9_30fps.webm", "fake_sadtalker_256x256.gif"):
        (tmp_path / "clips" / name).symlink_to(media / "videos" / name)
    words = [str(tmp_path / "clips"), "--zoo", str(tmp_path), "--model", "zoo:meso4"]
    assert main([*words, "--accept-licence", "meso4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| clip | is | meso4 |")
    for name, label in (("derived_400x400", "real"), ("fake_sadtalker", "fake")):
        (line,) = [line for line in lines if line.startswith(f"| {name}")]
        assert re.search(rf"\| {label} \| (real|fake|unsure) 0\.\d\d", line), line
    assert re.search(r"\| in all \|.*\d right, \d wrong", lines[-1])
