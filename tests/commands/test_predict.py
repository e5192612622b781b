"""predict and export-model as typed: tables, files, exit codes, refusals."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.support.tiny_cache import make_cache
from tests.support.trained import CLRNET, make_run
from unmask.commands import main as cli
from unmask.pipeline.config import CropConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.calibration import Calibration


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("typed")
    cache, manifests = make_cache(root, {"train": 1}, side=64)
    settings = CropConfig(clips=4, frames=3, size=64).settings()
    make_run(root / "run", manifests / "train.txt", cache, settings, "clrnet", CLRNET)
    (root / "videos").mkdir()
    for seed in (1, 2):
        pictures = [
            picture for picture, _ in draw_frames(draw_identity(seed), 20, (320, 240), seed=seed)
        ]
        encode_video(root / "videos" / f"person{seed}.mp4", pictures)
    return root


def threshold(world: Path, low: float, high: float) -> None:
    """A calibration that makes any score real, fake or unsure."""
    (world / "run" / cal.FILE).write_text(
        cal.as_json(Calibration(1.0, (low + high) / 2, (low, high)))
    )


@pytest.mark.parametrize(("low", "high", "code"), [(1.0, 1.0, 0), (0.0, 0.0, 10), (0.0, 1.0, 11)])
def test_exit_codes(world: Path, low: float, high: float, code: int) -> None:
    threshold(world, low, high)
    assert (
        cli.main(["predict", str(world / "videos"), "--run", str(world / "run"), "--device", "cpu"])
        == code
    )


def test_unreadable_is_three(world: Path, capsys: pytest.CaptureFixture) -> None:
    threshold(world, 1.0, 1.0)
    code = cli.main(
        ["predict", str(world / "videos"), str(world / "gone.mp4"), "--run", str(world / "run")]
    )
    assert code == 3 and "unreadable" in capsys.readouterr().out


def test_json_and_csv_agree(world: Path, capsys: pytest.CaptureFixture) -> None:
    threshold(world, 0.0, 1.0)
    words = ["predict", str(world / "videos" / "*.mp4"), "--run", str(world / "run")]
    cli.main([*words, "--json"])
    values = json.loads(capsys.readouterr().out)["videos"]
    cli.main([*words, "--csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["verdict"] for row in rows] == [v["verdict"] for v in values] == ["unsure"] * 2
    assert [float(row["score"]) for row in rows] == [v["score"] for v in values]
    assert [row["sha256"] for row in rows] == [v["sha256"] for v in values]


def test_several_videos_fill_folders_and_never_replace_the_source(
    world: Path, tmp_path: Path
) -> None:
    words = ["predict", str(world / "videos"), "--run", str(world / "run"), "--every", "0.2"]
    cli.main([*words, "--annotate", str(tmp_path / "films"), "--report", str(tmp_path / "pages")])
    assert sorted(p.name for p in (tmp_path / "films").iterdir()) == ["person1.mp4", "person2.mp4"]
    assert sorted(p.name for p in (tmp_path / "pages").iterdir()) == [
        "person1.html",
        "person2.html",
    ]
    before = (world / "videos" / "person1.mp4").read_bytes()
    assert cli.main([*words, "--annotate", str(world / "videos")]) == 2
    assert cli.main([*words, "--report", str(tmp_path / "one.html")]) == 2
    source = str(world / "videos" / "person1.mp4")
    assert cli.main(["predict", source, "--run", str(world / "run"), "--annotate", source]) == 2
    assert (world / "videos" / "person1.mp4").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "--run", "x"],
        ["predict", "a.mp4", "--json", "--csv", "--run", "x"],
        ["predict", "a.mp4", "--follow", "b.ts", "--run", "x"],
        ["export-model", "--to", "x.onnx"],
    ],
)
def test_what_makes_no_sense_is_usage(words: list[str]) -> None:
    assert cli.main(words) == 2


def test_a_model_that_is_not_there_is_refused(world: Path, tmp_path: Path) -> None:
    assert cli.main(["predict", str(world / "videos"), "--run", str(tmp_path / "gone")]) == 4
    (tmp_path / "m.pt2").write_bytes(b"x")
    assert cli.main(["predict", str(world / "videos"), "--model", str(tmp_path / "m.pt2")]) == 4


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["predict", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"{code}  " in text for code in (0, 3, 10, 11))
