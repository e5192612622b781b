"""A disk that refuses stops the run with one clear line and exit code 4; the next run goes on as
if nothing was.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.forks import CONFIG, hashes, in_this_process, leftovers, walk
from unmask.commands import main as cli
from unmask.pipeline.errors import CacheError, DiskError
from unmask.pipeline.extraction import dispatch, publish
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

ROOT = Path(__file__).parent.parent.parent


def full_disk(drawn: Path, tmp_path: Path, stride: int, figure: Callable[[str, str], None]) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.faults.full_disk",
        str(drawn),
        str(tmp_path),
        str(stride),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout.splitlines()[-1])
    told = ", ".join(f"{count} {what}" for what, count in result.items() if what != "tries")
    figure("disk full, quota, read-only", f"{result['tries']} refusals while writing: {told}")
    assert result["stopped"] >= 0.9 * result["tries"]
    assert [result[name] for name in ("unclear", "torn", "leftovers", "different")] == [0] * 4, (
        run.stderr
    )


def test_a_disk_that_refuses_some_writes(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    full_disk(drawn, tmp_path, 13, figure)


@pytest.mark.slow
def test_a_disk_that_refuses_from_every_write_on(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    full_disk(drawn, tmp_path, 1, figure)


@pytest.fixture
def dataset(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Three videos, worked on in this process."""
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)
    found = discover("ffpp", drawn, SourceOptions(methods=("Deepfakes",)))
    return Dataset("ffpp", found.root, found.videos[:3])


def test_a_full_disk_in_the_workers_ends_the_command_with_exit_4_and_the_next_run_goes_on(
    dataset: Dataset, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "cli.py",
        "extract",
        "--dataset",
        "ffpp",
        "--root",
        str(dataset.root),
        "--jobs",
        "2",
    ]
    command += [
        "--methods",
        "Deepfakes",
        "--clips",
        "2",
        "--frames",
        "2",
        "--size",
        "48",
        "--limit",
        "3",
    ]
    command += [
        "--cache",
        str(tmp_path / "small" / "cache"),
        "--manifests",
        str(tmp_path / "small" / "manifests"),
    ]

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    stopped = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, preexec_fn=small_files, check=False
    )
    assert stopped.returncode == 4, stopped.stderr
    (line,) = [text for text in stopped.stderr.splitlines() if text.startswith("unmask:")]
    assert "File too large" in line and "MiB needed" in line and "MiB free" in line
    assert "Traceback" not in stopped.stderr and not leftovers(tmp_path / "small")
    for name in ("small", "good"):
        walk(dataset, tmp_path / name)
    assert hashes(tmp_path / "small") == hashes(tmp_path / "good")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_cache_is_refused_before_anything_is_decoded(
    code: int, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: object, flags: int, *rest: object, **named: object) -> int:
        if str(path).startswith(str(tmp_path)) and flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)  # chmod does not bind the superuser
    monkeypatch.setattr(
        "unmask.pipeline.extraction.one_video.read_crops",
        lambda *_: pytest.fail("something was decoded"),
    )
    with pytest.raises(CacheError, match=os.strerror(code)):
        extraction.extract(dataset.videos, CONFIG, tmp_path)


def test_a_cache_that_changes_file_system_inside_is_told_so(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(DiskError, match="changes file system"):
            extraction.extract(dataset.videos, CONFIG, tmp_path)
    assert not leftovers(tmp_path)
    assert [o.status for o in extraction.extract(dataset.videos, CONFIG, tmp_path)] == ["ok"] * 3


def test_a_read_only_cache_serves_training(
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever only reads makes no attempt to write: the reader, verify, manifests."""
    from unmask.models.spec import ClipSpec
    from unmask.pipeline.clips.batches import batches
    from unmask.pipeline.clips.source import ClipSource

    ended = extraction.extract(dataset.videos, CONFIG, tmp_path / "cache")
    written = publish.publish(dataset, ended, CONFIG, tmp_path / "cache", tmp_path / "manifests")
    real = os.open

    def read_only(path: object, flags: int, *rest: object, **named: object) -> int:
        if str(path).startswith(str(tmp_path)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest, **named)

    with monkeypatch.context() as patched:  # ends before the test's folder is cleared
        patched.setattr(os, "open", read_only)
        for name in ("mkdir", "rename", "replace", "unlink", "remove"):
            patched.setattr(
                os, name, lambda *_, name=name, **__: pytest.fail(f"os.{name} was called")
            )
        for path in written:
            source = ClipSource(path, tmp_path / "cache", ClipSpec("consecutive", 2, size=48))
            assert len(list(batches(source, [source.evaluation_samples()]))) == 1
        assert cli.main(["verify", "--cache", str(tmp_path / "cache")]) == 0
    assert "3 whole, 0 damaged" in capsys.readouterr().out
