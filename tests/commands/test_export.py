"""`unmask export`: the command as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_videos import commit
from unmask.commands.main import main
from unmask.pipeline.clips.hdf5 import open_export
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Entry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parent = tmp_path / "cache" / "own" / "16x5-32px-0123456789ab"
    for name in ("a", "b"):
        commit(parent, name)
    entries = [Entry(f"own/{parent.name}/{name}", label) for label, name in enumerate(("b", "a"))]
    write_manifest(tmp_path / "test.txt", entries)
    return tmp_path


def _export(folder: Path, **options: str) -> int:
    words = {
        "manifest": folder / "test.txt",
        "cache": folder / "cache",
        "to": folder / "test.h5",
        **options,
    }
    return main(
        ["export", *(str(word) for name, value in words.items() for word in (f"--{name}", value))]
    )


def test_it_writes_the_file_and_says_what_is_in_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _export(folder) == 0
    shown = capsys.readouterr()
    assert "export: 2 videos, 6 clips (crops)" in shown.out
    assert "test.h5" in shown.out
    assert [(e.folder[-1], e.label) for e in open_export(folder / "test.h5").entries] == [
        ("b", 0),
        ("a", 1),
    ]


def test_mistakes_give_one_line_and_the_right_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "here.txt").write_text("x")
    assert _export(folder) == 0
    for options, code, word in (
        ({"manifest": str(folder / "absent.txt")}, 4, "absent.txt"),
        ({"manifest": str(folder / "test.h5")}, 2, "is an export already"),
        ({"cache": str(folder / "absent")}, 4, "test.txt"),
        ({"to": str(folder / "here.txt")}, 2, "here.txt"),
        ({"compression": "zip"}, 2, "zip"),
    ):
        capsys.readouterr()
        assert _export(folder, **options) == code, options
        told = capsys.readouterr().err
        assert word in told
        assert "Traceback" not in told
    (folder / "cache" / "own" / "16x5-32px-0123456789ab" / "a" / "digest.json").unlink()
    assert _export(folder) == 4
