"""Whatever the moment of a kill -9: nothing torn shows, nothing finished is lost, and the next run
ends equal.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.extraction.test_run import tree_hash

ROOT = Path(__file__).parent.parent.parent


def kill_points(drawn: Path, tmp_path: Path, stride: int, kind: int | str) -> dict[str, int]:
    """kind: how many random kills beside, or what is replaced (kill_points.replacing)."""
    command = [
        sys.executable,
        "-m",
        "tests.faults.kill_points",
        str(drawn),
        str(tmp_path),
        str(stride),
        str(kind),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout.splitlines()[-1])
    return result


GOOD = {"torn": 0, "lost": 0, "leftovers": 0, "different": 0}


def judge(result: dict[str, int], figure: Callable[[str, str], None]) -> None:
    points = result.pop("points")
    told = ", ".join(f"{count} {what}" for what, count in result.items() if what != "events")
    figure(
        "kill -9 during extract",
        f"{points} kills over {result.pop('events')} file-system events: {told}",
    )
    assert result == GOOD


def test_kill_at_file_system_events(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    result = kill_points(drawn, tmp_path, stride=8, kind=3)
    assert result["events"] > 60 and result["points"] > 15
    judge(result, figure)


@pytest.mark.slow
def test_kill_at_every_file_system_event_and_at_30_random_times(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    result = kill_points(drawn, tmp_path, stride=1, kind=30)
    assert result["points"] == result["events"] + 30
    judge(result, figure)


REPLACED = ("labels", "repair", "no-swap")


def replaced(
    how: str, drawn: Path, tmp_path: Path, stride: int, figure: Callable[[str, str], None]
) -> None:
    result = kill_points(drawn, tmp_path, stride, how)
    points = result.pop("points")
    figure(f"kill -9 while replacing ({how})", f"{points} kills: {result}")
    assert result.pop("events") > 60 and points > 60 // stride - 1
    also = {"silent": 0} if how == "repair" else {}
    assert result == {"gone": 0, "torn": 0, "leftovers": 0, "different": 0, **also}


@pytest.mark.parametrize("how", REPLACED[1:])  # the slow form below tries all three
def test_a_kill_while_videos_are_replaced_leaves_the_old_or_the_new(
    how: str, drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    replaced(how, drawn, tmp_path, 19, figure)


@pytest.mark.slow
@pytest.mark.parametrize("how", REPLACED)
def test_a_kill_at_every_event_of_replacing_leaves_the_old_or_the_new(
    how: str, drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    replaced(how, drawn, tmp_path, 1, figure)


def extract_command(drawn: Path, work: Path) -> list[str]:
    command = [
        sys.executable,
        "cli.py",
        "extract",
        "--dataset",
        "ffpp",
        "--root",
        str(drawn),
        "--jobs",
        "2",
    ]
    command += ["--methods", "Deepfakes,NeuralTextures", "--clips", "4", "--size", "96"]
    return [*command, "--cache", str(work / "cache"), "--manifests", str(work / "manifests")]


@pytest.mark.slow
def test_the_command_itself_killed_ten_times_ends_in_the_same_bytes(
    drawn: Path, tmp_path: Path
) -> None:
    whole, often = tmp_path / "whole", tmp_path / "often"
    started = time.monotonic()
    assert (
        subprocess.run(
            extract_command(drawn, whole), cwd=ROOT, capture_output=True, check=False
        ).returncode
        == 0
    )
    took, rng = time.monotonic() - started, random.Random(3)
    for _ in range(10):
        run = subprocess.Popen(
            extract_command(drawn, often),
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.3, 1.0) * took)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert (
        subprocess.run(
            extract_command(drawn, often), cwd=ROOT, capture_output=True, check=False
        ).returncode
        == 0
    )
    truth = {k.removeprefix(str(whole)): v for k, v in tree_hash(whole).items()}
    assert {k.removeprefix(str(often)): v for k, v in tree_hash(often).items()} == truth
    assert not list(often.rglob(".tmp*"))
