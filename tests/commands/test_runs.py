"""runs as a user types it: one damaged run costs its own row and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unmask.commands import main as cli
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.runs.newest import RUN_FILE
from unmask.pipeline.runs.run_folder import METRICS, write_run

DAMAGE = {
    METRICS: '{"kind": "epoch", "auc": "high"}\n',
    RUN_FILE: '{"format": 1, "config": {"seed": "one\\u001b[2J"}}',
}


@pytest.mark.parametrize("file", DAMAGE)
def test_a_damaged_run_is_one_row_and_one_line_with_the_name_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    for number in (1, 2):
        folder = tmp_path / f"000{number}-stil-tiny"
        folder.mkdir()
        write_run(folder, TrainConfig(model="stil"), {})
    (folder / file).write_text(DAMAGE[file])
    assert cli.main(["runs", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        ["0002-stil-tiny", "damaged"],
        ["0001-stil-tiny", "stil"],
    ]
    assert str(folder / file) in said.err and "\033" not in said.err
    assert cli.main(["runs", "--runs", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert str(folder / file) in rows[0]["damaged"] and rows[1]["model"] == "stil"
