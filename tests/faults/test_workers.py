"""A worker that crashes, is killed, exits or hangs costs exactly its own video; the run ends and names it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import workers
from pipeline.config import ExtractConfig, Limits
from pipeline.records import Video
from tests.faults import hostile

CONFIG = ExtractConfig(jobs=2, limits=Limits(seconds=2.0))


@pytest.fixture(autouse=True)
def fresh_workers() -> Iterator[None]:
    """Hostile workers must not serve another test."""
    yield
    workers.stop_workers()


def videos(count: int) -> list[Video]:
    return [Video("d", f"v{k}", f"v{k}", Path(f"/no/v{k}.mp4"), 0) for k in range(count)]


def dispatch(tmp_path: Path, plan: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / hostile.PLAN).write_text("".join(f"{name} {how}\n" for name, how in plan.items()))
    monkeypatch.setattr(workers, "_task", hostile.hostile_task)
    outcomes = list(workers.dispatch(videos(count), CONFIG, tmp_path))
    assert sorted(o.video_id for o in outcomes) == sorted(f"v{k}" for k in range(count)), "one outcome per video"
    assert not [p for p in tmp_path.iterdir() if "started" in p.name], "notes are swept away"
    return {o.video_id: o.reason for o in outcomes if o.status != "ok"}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("segfault", "decoder_crash"),
        ("kill", "out_of_memory"),
        ("exit", "decoder_crash"),
        ("hang", "timeout"),
        ("memory", "out_of_memory"),
    ],
)
def test_one_bad_video_of_eight(how: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch(tmp_path, {"v3": how}, 8, monkeypatch) == {"v3": reason}


def test_three_bad_videos_of_eight_in_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {"v0": "segfault", "v4": "exit", "v7": "kill"}
    expected = {"v0": "decoder_crash", "v4": "decoder_crash", "v7": "out_of_memory"}
    assert dispatch(tmp_path, plan, 8, monkeypatch) == expected


def test_when_every_video_crashes_the_run_still_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dispatch(tmp_path, {f"v{k}": "segfault" for k in range(4)}, 4, monkeypatch)
    assert found == {f"v{k}": "decoder_crash" for k in range(4)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_within_seconds_and_leaves_no_orphan(
    number: int, code: int, drawn: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "cli.py", "extract", "--dataset", "ffpp", "--root", str(drawn), "--jobs", "2"]
    command += ["--methods", "Deepfakes,NeuralTextures", "--cache", str(tmp_path), "--manifests", str(tmp_path / "m")]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(run.pid).children(recursive=True)) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    os.kill(run.pid, number)
    assert run.wait(timeout=10) == code
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert "Traceback" not in run.stderr.read()
