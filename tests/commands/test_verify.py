"""The verify command: what it says and the exit code a script relies on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.small_videos import commit
from unmask.commands import main as cli
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.extraction.run import cache_folder, extract
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    parent = tmp_path / "cache" / "ffpp" / "key"
    for name in ("a", "b", "c"):
        commit(parent, name)
    (parent / "index.json").write_text('{"settings": {}, "videos": []}')
    return tmp_path / "cache"


def test_a_whole_cache_is_zero(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--cache", str(cache)]) == 0
    assert capsys.readouterr().out == "verify: 3 whole, 0 damaged\n"


def test_damaged_videos_are_named_with_what_to_do(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "ffpp" / "key" / "b" / "zarr.json").write_bytes(b"")
    assert cli.main(["verify", "--cache", str(cache), "--dataset", "ffpp"]) == 4
    first, count, remedy = capsys.readouterr().out.splitlines()
    assert (
        "/b: zarr.json has 0 bytes" in first
        and count == "verify: 2 whole, 1 damaged"
        and "--repair" in remedy
    )
    assert verify_video(cache / "ffpp" / "key" / "b"), "looking repairs nothing"


def test_what_has_no_index_cannot_be_repaired_and_is_kept(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "ffpp" / "key" / "b" / "zarr.json").write_bytes(b"")
    assert cli.main(["verify", "--cache", str(cache), "--repair"]) == 4
    assert "b is in no index" in capsys.readouterr().err
    assert (cache / "ffpp" / "key" / "b").is_dir()


def test_a_stray_file_with_an_escape_in_its_name_does_not_colour_the_terminal(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "ffpp" / "key" / "c" / "\x1b[31mred\n").write_text("x")
    assert cli.main(["verify", "--cache", str(cache)]) == 4
    assert "\x1b" not in capsys.readouterr().out


def test_a_folder_that_is_no_cache_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "--cache", str(tmp_path)]) == 4
    assert "no extracted dataset there" in capsys.readouterr().err


def test_a_video_that_the_index_names_must_be_there(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost folders are told and made again; a refused video may be absent."""
    found = discover("ffpp", drawn, SourceOptions(methods=("Deepfakes",)))
    (tmp_path / "text.mp4").write_text("no video")
    refused = replace(found.videos[2], path=tmp_path / "text.mp4")
    config = ExtractConfig(crop=CropConfig(clips=2, frames=2, size=48, bands=False), jobs=1)
    extract([*found.videos[:2], refused], config, tmp_path / "cache")
    lost = cache_folder(tmp_path / "cache", "ffpp", config.crop) / found.videos[0].video_id
    whole = {path.name: path.read_bytes() for path in lost.rglob("*") if path.is_file()}
    shutil.rmtree(lost)
    command = ["verify", "--cache", str(tmp_path / "cache")]
    assert cli.main(command) == 4
    out = capsys.readouterr().out
    assert "1 whole, 0 damaged, 1 missing" in out and lost.name in out
    assert cli.main([*command, "--repair", "--jobs", "1"]) == 0
    assert {path.name: path.read_bytes() for path in lost.rglob("*") if path.is_file()} == whole
    assert cli.main(command) == 0


def test_an_index_that_cannot_be_read_is_told(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "ffpp" / "key" / "index.json").write_text("{")
    assert cli.main(["verify", "--cache", str(cache)]) == 4
    assert "what must be there is not known" in capsys.readouterr().out


def test_a_damaged_row_of_the_index_is_told_and_the_rest_is_checked(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "ffpp" / "key" / "index.json").write_text('{"settings": {"a": 1}, "videos": [3]}')
    assert cli.main(["verify", "--cache", str(cache)]) == 4
    row, count, whole = capsys.readouterr().out.splitlines()
    assert "index.json: video 1: damaged" in row and whole == "verify: 3 whole, 0 damaged"
    assert count == "1 damaged rows of this index; extract writes them again"
