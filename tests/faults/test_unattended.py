"""Training when nobody listens any more, and a GPU that is asked for and not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.commands.test_train import SMALL
from tests.support.tiny_cache import make_cache
from unmask.commands import main as cli

ROOT = Path(__file__).parent.parent.parent


def test_training_goes_on_when_its_output_is_closed_and_its_terminal_gone(tmp_path: Path) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 3, "val": 2}, clips=2, frames=2, side=32)
    command = [
        sys.executable,
        "cli.py",
        "train",
        *SMALL,
        "--manifest",
        str(manifests / "train.txt"),
    ]
    command += ["--cache", str(cache), "--run", str(tmp_path / "run"), "--no-tensorboard"]
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.Popen(command, cwd=ROOT, stdout=writer, stderr=writer)
    os.close(writer)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "run" / "metrics.jsonl").exists()
        and run.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    if run.poll() is None:
        os.kill(run.pid, signal.SIGHUP)
    assert run.wait(timeout=120) == 0
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="this machine has the GPU that must be missing here"
)
def test_a_gpu_that_is_not_there_is_told_before_any_work(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [
        "--root",
        str(drawn),
        "--cache",
        str(tmp_path / "cache"),
        "--manifests",
        str(tmp_path / "m"),
    ]
    assert cli.main(["extract", "--dataset", "ffpp", "--device", "cuda", *places]) == 2
    assert "no GPU" in capsys.readouterr().err and not (tmp_path / "cache").exists()
