"""predict and export-model as typed: tables, files, exit codes, refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.support.predicting import trust
from tests.support.tiny_cache import make_cache
from tests.support.trained import CLRNET, make_run
from unmask.commands import main as cli
from unmask.pipeline.config import CropConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video


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


@pytest.mark.parametrize(("low", "high", "code"), [(1.0, 1.0, 0), (0.0, 0.0, 10), (0.0, 1.0, 11)])
def test_exit_codes(world: Path, low: float, high: float, code: int) -> None:
    trust(world / "run", low, high)
    assert (
        cli.main(["predict", str(world / "videos"), "--run", str(world / "run"), "--device", "cpu"])
        == code
    )


def test_a_doubted_model_is_unsure_everywhere_unless_asked_anyway(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(world / "run", run := tmp_path / "run")
    trust(run, 0.0, 0.0)  # whatever the score, its bare verdict is fake
    document = json.loads((run / "run.json").read_text())
    document["knowledge"]["real"] = 3
    (run / "run.json").write_text(json.dumps(document))
    why = "trained on 3 real and 500 fake videos, at least 50 of each are needed"
    words = ["predict", str(world / "videos" / "person1.mp4"), "--run", str(run)]
    assert cli.main(words) == 11
    out, err = capsys.readouterr()
    row = out.splitlines()[1].split()
    assert row[:3] == ["person1.mp4", "unsure", "–"] and why in out and f"doubt: run: {why}" in err
    assert cli.main([*words, "--json"]) == 11
    (video,) = json.loads(capsys.readouterr().out)["videos"]
    assert (video["verdict"], video["bare"], video["doubts"]) == ("unsure", "fake", [why])
    assert cli.main([*words, "--csv"]) == 11
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (line["verdict"], line["bare"], line["doubts"]) == ("unsure", "fake", why)
    page = tmp_path / "p.html"
    assert cli.main([*words, "--report", str(page)]) == 11
    text = page.read_text()
    assert "No verdict: unsure" in text and why in text and "is-fake" not in text.split("<main")[1]
    capsys.readouterr()
    assert cli.main([*words, "--anyway"]) == 10
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[1] == "fake" and "in spite of a doubt" in out
    assert float(out.splitlines()[1].split()[2]) == pytest.approx(video["score"], abs=1e-3)


def test_unreadable_is_three(world: Path, capsys: pytest.CaptureFixture) -> None:
    trust(world / "run", 1.0, 1.0)
    code = cli.main(
        ["predict", str(world / "videos"), str(world / "gone.mp4"), "--run", str(world / "run")]
    )
    assert code == 3 and "unreadable" in capsys.readouterr().out


def test_json_and_csv_agree(world: Path, capsys: pytest.CaptureFixture) -> None:
    trust(world / "run", 0.0, 1.0)
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
