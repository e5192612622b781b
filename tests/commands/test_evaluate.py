"""evaluate, metrics and compare as a user types them: exit codes, one clear line, files where they
were promised.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from tests.support.tiny_cache import make_cache
from tests.support.tiny_run import make_run
from unmask.commands import main as cli
from unmask.pipeline.scores.csv_file import read_scores


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    cache, manifests = make_cache(root, {"train": 2, "test": 4})
    for number in (1, 2):
        make_run(
            root / "runs" / f"000{number}-clrnet-tiny", cache, manifests / "train.txt", seed=number
        )
    return root


def run(*words: object, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.csv"
    lines = [f"v{i},{i % 2},{(37 * i % 100) / 100}" for i in range(40)]
    path.write_text("video_id,label,score\n" + "\n".join(lines) + "\n")
    return path


def test_the_short_form_says_what_it_took_and_writes_into_the_run(
    world: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(world)
    code, out, err = run(
        "evaluate",
        "--video-level",
        "--no-pictures",
        "--explain",
        0,
        "--resamples",
        20,
        capsys=capsys,
    )
    assert code == 0
    assert (
        "run: runs/0002-clrnet-tiny (newest with a checkpoint" in err
        and "test.txt (beside the training manifest" in err
    )
    assert "video: n 8 (4 real, 4 fake)" in out and "clip: n" not in out
    assert (
        "scored 8, refused by extraction 0 (no list of outcomes beside the manifest), missing 0 "
        "videos" in out
    )
    report = Path(out.strip().splitlines()[-1].removeprefix("report: "))
    assert report.is_file() and report.parent.parent == Path("runs/0002-clrnet-tiny/evaluations")


def test_two_runs_are_compared_by_name(world: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(world)
    for number in (1, 2):
        words = (
            "evaluate",
            "--run",
            f"runs/000{number}-clrnet-tiny",
            "--no-pictures",
            "--explain",
            0,
            "--resamples",
            0,
        )
        assert run(*words, capsys=capsys)[0] == 0
    code, out, _ = run(
        "compare",
        "runs/0001-clrnet-tiny",
        "runs/0002-clrnet-tiny",
        "--resamples",
        50,
        capsys=capsys,
    )
    assert code == 0
    assert "8 videos in both (4 real, 4 fake)" in out and "DeLong p" in out
    code, out, _ = run(
        "compare", "runs/0001-clrnet-tiny", "runs/0002-clrnet-tiny", "--json", capsys=capsys
    )
    found = json.loads(out)
    assert set(found) == {"files", "cautions", "delong", "metrics", "left_out", "sizes"}
    # what an evaluation warned of is not lost in what is made of it
    where = Path("runs/0002-clrnet-tiny/evaluations")
    (file,) = where.glob("[!.]*/scores.csv")
    folder = file.parent
    written = json.loads((folder / "metrics.json").read_text())
    assert found["cautions"][1] == written["cautions"]
    written["cautions"] = ["Trained on real footage only."]
    (folder / "metrics.json").write_text(json.dumps(written))
    _, out, _ = run("compare", "runs/0001-clrnet-tiny", "runs/0002-clrnet-tiny", capsys=capsys)
    assert out.count("caution: Trained on real footage only.") == 1


def test_a_run_that_was_never_evaluated_is_said(
    world: Path, tmp_path: Path, theirs: Path, capsys
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run("compare", tmp_path / "empty", theirs, capsys=capsys)
    assert code == 2 and "no evaluation in it" in err and len(err.strip().splitlines()) == 1


def test_metrics_of_a_foreign_file_are_those_of_scikit_learn(theirs: Path, capsys) -> None:
    code, out, _ = run("metrics", theirs, "--json", "--resamples", 50, capsys=capsys)
    assert code == 0
    found = json.loads(out)["levels"]["video"]["metrics"]
    rows, _ = read_scores(theirs)
    decision = rows.score >= 0.5
    assert found["auc"]["value"] == roc_auc_score(rows.label, rows.score)
    assert found["ap"]["value"] == average_precision_score(rows.label, rows.score)
    assert found["acc"]["value"] == accuracy_score(rows.label, decision)
    assert found["f1"]["value"] == f1_score(rows.label, decision)
    assert found["log_loss"]["value"] == log_loss(rows.label, rows.score)
    assert found["auc"]["low"] < found["auc"]["value"] < found["auc"]["high"]


def test_metrics_writes_a_page(theirs: Path, tmp_path: Path, capsys) -> None:
    code, out, err = run(
        "metrics", theirs, "--report", tmp_path / "page.html", "--resamples", 20, capsys=capsys
    )
    assert code == 0 and "AUC" in out and "page.html" in err
    assert "What these numbers are not" in (tmp_path / "page.html").read_text()


def test_a_page_of_an_evaluations_scores_keeps_what_it_warned_of(
    theirs: Path, tmp_path: Path, capsys
) -> None:
    scores = tmp_path / "scores.csv"
    theirs.rename(scores)
    said = "Trained on real footage only."
    (tmp_path / "metrics.json").write_text(json.dumps({"cautions": [said]}))
    page = tmp_path / "page.html"
    assert run("metrics", scores, "--report", page, "--resamples", 0, capsys=capsys)[0] == 0
    assert said in page.read_text()


def test_a_threshold_comes_from_validation_scores(theirs: Path, capsys) -> None:
    code, out, _ = run(
        "metrics", theirs, "--threshold-from", theirs, "--resamples", 0, capsys=capsys
    )
    assert code == 0 and "calibrated on" in out and "temperature" in out


def test_a_bad_scores_file_is_one_message_with_its_lines(tmp_path: Path, capsys) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("video_id,label,score\na,1,0.5\nb,2,0.5\nc,1,7\n")
    code, _, err = run("metrics", path, capsys=capsys)
    assert code == 4
    assert (
        f"{path}:3: label '2'" in err and f"{path}:4: score '7'" in err and "Traceback" not in err
    )


def test_a_missing_manifest_and_a_missing_run_are_one_line_each(
    world: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("evaluate", capsys=capsys)
    assert code == 2 and "no training run" in err
    code, _, err = run("evaluate", "--run", "nothing", capsys=capsys)
    assert code == 4 and "nothing/run.json" in err
    monkeypatch.chdir(world)
    code, _, err = run(
        "evaluate", "--run", "runs/0001-clrnet-tiny", "--manifest", "absent.txt", capsys=capsys
    )
    assert code in (2, 4) and "absent.txt" in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["evaluate", "metrics", "compare"])
def test_help_needs_no_torch(name: str) -> None:
    result = CliRunner().invoke(cli.unmask, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output and max(map(len, result.output.splitlines())) <= 110
