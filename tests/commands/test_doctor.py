"""doctor on the command line: one line per finding, a remedy under each complaint, exit 3 for what
must be mended.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask.commands import main as cli


def test_it_tells_every_finding_and_ends_with_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unmask.pipeline.doctor.SMALL_TEMPORARY", 0)
    assert cli.main(["doctor", "--cache", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(("ok", "look"))]) == 14
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert cli.main(["doctor", "--cache", str(tmp_path)]) == 3
    said = capsys.readouterr().out
    assert "FAIL  safe loading" in said and "-> unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in said
