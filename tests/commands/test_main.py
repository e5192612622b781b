"""The command line: every command has a help page, every mistake of a user is one line and never a
traceback.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask.commands import main as cli


def run(*args: str) -> int:
    return cli.main(list(args))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: unmask {name}") and len(text.splitlines()) > 4


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("extrct",), "did you mean 'extract'"),
        (("extract", "--dataset", "ffp"), "did you mean 'ffpp'"),
        (("extract", "--dataset", "ffpp", "--clps", "3"), "--clips"),
        (("extract", "--dataset", "folder", "--root", "no/such/folder"), "no/such/folder"),
        (("extract",), "--dataset"),
        (("extract", "--dataset", "folder", "--root", ".", "--shard", "3/2"), "K/N"),
        (("extract", "--dataset", "folder", "--root", ".", "--split-ratio", "1"), "0.7,0.15,0.15"),
        (("verify", "--cache", "no/such/cache"), "no/such/cache"),
    ],
)
def test_a_mistake_is_one_clear_line(
    args: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*args) in (2, 4)
    captured = capsys.readouterr()
    assert expected in captured.err and "Traceback" not in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("unmask:")]) == 1


def test_an_empty_dataset_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "real").mkdir()
    assert run("extract", "--dataset", "folder", "--root", str(tmp_path)) == 2
    assert str(tmp_path) in capsys.readouterr().err
