"""A run ships only with scores that pass the gate, and until then one line says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unmask.commands import main as cli
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.prediction import shipped
from unmask.pipeline.prediction.shipped import NONE_SHIPS, shipped_run


def record(folder: Path, gap: float, counts: int = 1) -> Path:
    """Scores of 20 persons' real clips and swaps that lie `gap` higher."""
    rng = np.random.default_rng(0)
    lines = ["file,label,kind,group,pair,counts,score"]
    for who in range(20):
        for label in (0, 1):
            score = gap * label + rng.normal(0, 0.1)
            lines.append(f"c{who}-{label}.mp4,{label},swap,p{who},f{who},{counts},{score:.6f}")
    folder.mkdir(exist_ok=True)
    (folder / "openclips.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_scores_that_pass_admit_the_run(tmp_path) -> None:
    assert shipped_run(record(tmp_path / "run", 1.0)) == tmp_path / "run"


@pytest.mark.parametrize(
    ("gap", "counts", "why"),
    [
        (0.0, 1, "the lower bound must exceed 0.64"),
        (1.0, 0, "no swap lies beside its original"),
    ],
)
def test_scores_that_do_not_pass_refuse_it(tmp_path, gap, counts, why) -> None:
    with pytest.raises(CheckpointError, match=f"did not pass the gate: .*{why}"):
        shipped_run(record(tmp_path / "run", gap, counts))


def test_a_run_without_its_scores_or_with_others_is_refused(tmp_path) -> None:
    folder = record(tmp_path / "run", 1.0)
    (folder / "openclips.csv").write_text("video,score\na,0.5\n")
    with pytest.raises(CheckpointError, match="not scores of open clips"):
        shipped_run(folder)
    (folder / "openclips.csv").unlink()
    with pytest.raises(CheckpointError, match=r"openclips.csv: not there"):
        shipped_run(folder)


def test_none_ships_or_it_passes() -> None:
    assert shipped_run() is None or (shipped.SHIPPED / "run.json").is_file()


def test_predict_without_any_run_says_why_none_ships_and_what_makes_one(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", "some.mp4"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert NONE_SHIPS in line
    for word in ("0.54 [0.46, 0.61]", "0.64", "`unmask extract --", "`unmask train --model lite"):
        assert word in line


def test_a_run_that_ships_is_taken_and_named(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    folder = record(tmp_path / "shipped", 1.0)
    monkeypatch.setattr(shipped_run, "__defaults__", (folder,))
    assert cli.main(["predict", "some.mp4"]) != 0  # it has no run.json here
    err = capsys.readouterr().err
    assert "the one that came with unmask" in err and str(folder) in err
