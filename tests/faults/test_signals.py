"""A signal, a killed parent or a stream that is gone ends the command as told, with no orphan and
nothing lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

# Two videos at their smallest, one after the other.
SMALL = ["--jobs", "1", "--clips", "2", "--frames", "2", "--size", "48", "--limit", "2"]


def extract_command(drawn: Path, tmp_path: Path, *words: str) -> list[str]:
    """The command as a user types it, into a cache and manifests of the test's own."""
    command = [sys.executable, "cli.py", "extract", "--dataset", "ffpp", "--root", str(drawn)]
    places = ["--cache", str(tmp_path / "cache"), "--manifests", str(tmp_path / "m")]
    return [*command, *places, *words]


def running(drawn: Path, tmp_path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """The real command, some moments after its workers were forked from their server."""
    command = extract_command(drawn, tmp_path, "--jobs", "2")
    command += ["--methods", "Deepfakes,NeuralTextures"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    workers: list[psutil.Process] = []
    while not workers:
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.1)
        children = psutil.Process(run.pid).children(recursive=True)
        workers = [child for child in children if child.ppid() != run.pid]
    time.sleep(1.0)
    return run, psutil.Process(run.pid).children(recursive=True) or children


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_ends_the_run_within_seconds_and_leaves_no_orphan(
    number: int, code: int, drawn: Path, tmp_path: Path
) -> None:
    run, children = running(drawn, tmp_path)
    os.kill(run.pid, number)
    assert run.wait(timeout=10) == code
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert "Traceback" not in run.stderr.read()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_when_the_command_dies_or_its_terminal_goes_the_workers_go_too(
    number: int, drawn: Path, tmp_path: Path
) -> None:
    run, children = running(drawn, tmp_path)
    os.kill(run.pid, number)
    assert run.wait(timeout=5) == -number
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_reader_that_goes_away_costs_nothing(drawn: Path, tmp_path: Path) -> None:
    """`unmask extract ... | head -0`: the work is done, and nobody is told of a broken pipe."""
    command = extract_command(drawn, tmp_path, *SMALL)
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert run.returncode == 0 and "Traceback" not in run.stderr and "Broken" not in run.stderr
    assert (
        len(list((tmp_path / "m").rglob("*.txt"))) >= 1
        and len(list((tmp_path / "cache").rglob("digest.json"))) == 2
    )


@pytest.mark.parametrize(
    "closed", [(0, 1, 2), *(pytest.param((n,), marks=pytest.mark.slow) for n in (1, 2))]
)
def test_streams_that_were_closed_from_the_start_cost_nothing(
    closed: tuple[int, ...], drawn: Path, tmp_path: Path
) -> None:
    """`unmask extract ... >&-`, as some job schedulers start their jobs."""
    command = extract_command(drawn, tmp_path, *SMALL, "--methods", "Deepfakes")
    run = subprocess.Popen(command, preexec_fn=lambda: [os.close(number) for number in closed])
    assert run.wait(timeout=120) == 0
    assert len(list((tmp_path / "cache").rglob("digest.json"))) == 2
