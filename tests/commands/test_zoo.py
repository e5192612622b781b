"""Released detectors as typed: predict, evaluate, models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.keras_files import plant_meso4
from tests.support.tiny_cache import draw_video, write_one
from unmask.commands import main as cli
from unmask.pipeline.config import CropConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.zoo.releases import RELEASES


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plant_meso4(tmp_path / "zoo", monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cached(root: Path, **settings: object) -> Path:
    """Manifest of eight cached videos whose crops say that they were cut so."""
    crops = CropConfig(clips=2, frames=1, size=64).settings() | settings
    entries = [
        write_one(root / "cache", f"v{n}", draw_video(n, n % 2, 2, 1, 64), n % 2, settings=crops)
        for n in range(8)
    ]
    write_manifest(root / "test.txt", entries)
    return root / "test.txt"


def test_predict_scores_a_video_with_a_release_and_doubts_it(world, capsys) -> None:
    pictures = [picture for picture, _ in draw_frames(draw_identity(1), 20, (320, 240), seed=1)]
    encode_video(world / "person.mp4", pictures)
    words = ["predict", "person.mp4", "--model", "zoo:meso4", "--device", "cpu", "--json"]
    assert cli.main(words) == 2
    assert "--accept-licence meso4" in capsys.readouterr().err
    assert cli.main([*words, "--accept-licence", "meso4"]) == 11
    (video,) = json.loads(capsys.readouterr().out)["videos"]
    assert video["verdict"] == "unsure" and 0 < video["score"] < 1 and video["doubts"]
    assert cli.main(words) == 11  # accepted once


def test_evaluate_writes_into_the_release_and_asks_for_its_crops(world, capsys) -> None:
    manifest = cached(world)
    words = ["evaluate", "--model", "zoo:meso4", "--accept-licence", "meso4", "--cache", "cache"]
    words += ["--no-pictures", "--explain", "0", "--resamples", "20"]
    assert cli.main(words) == 2
    assert "is a release: name what to score with --manifest" in capsys.readouterr().err
    words += ["--manifest", str(manifest)]
    assert cli.main(words) == 4
    err = capsys.readouterr().err
    assert "not cut as meso4 wants them: size 64 instead of 320; extract again" in err
    assert cli.main([*words, "--other-pixels"]) == 0
    out = capsys.readouterr().out
    assert "Other pixels: its crops are not cut as meso4" in out
    assert "a release lists none" in out
    (found,) = (world / "zoo" / "meso4" / "evaluations").glob("*/scores.csv")
    scores, _ = read_scores(found)
    assert len(scores) == 16 and len(set(scores.logit.tolist())) == 16


def test_crops_as_the_profile_asks_are_scored_without_a_word(world, capsys) -> None:
    manifest = cached(world, size=320)
    words = ["evaluate", "--model", "zoo:meso4", "--accept-licence", "meso4", "--cache", "cache"]
    words += ["--no-pictures", "--explain", "0", "--resamples", "20", "--manifest", str(manifest)]
    assert cli.main(words) == 0
    assert "Other pixels" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "--model", "meso4"], "expected zoo:NAME; `models --zoo` lists them"),
        (["evaluate", "--model", "zoo:meso4", "--run", "x"], "--run and --model exclude"),
        (["predict", "x.mp4", "--model", "zoo:meso"], "no release 'meso' in the zoo"),
        (["models", "meso4", "--zoo"], "--zoo lists all releases"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(words, message, world, capsys) -> None:
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_models_lists_every_release_with_licence_and_file(capsys) -> None:
    assert cli.main(["models", "--zoo"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("zoo:")}
    assert set(rows) == {f"zoo:{name}" for name in RELEASES}
    for name, release in RELEASES.items():
        assert release.licence in rows[f"zoo:{name}"]
        assert f"  {name}: {release.file}, sha256 " in out and release.where in out
        assert release.terms in out
