"""Any sequence of extract, kill, delete, corrupt, verify, repair and open keeps the promises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def sequences(drawn: Path, tmp_path: Path, count: int, figure: Callable[[str, str], None]) -> None:
    command = [sys.executable, "-m", "tests.faults.machine", str(drawn), str(tmp_path), str(count)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    counts = json.loads(run.stdout.splitlines()[-1])
    told = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    figure("cache as a state machine", f"{told}: the disk was always as modelled")
    assert counts["sequences"] >= count and min(counts.values()) > 0


def test_sequences_of_faults_keep_the_promises(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    sequences(drawn, tmp_path, 8, figure)


@pytest.mark.slow
def test_five_hundred_sequences_of_faults_keep_the_promises(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    sequences(drawn, tmp_path, 500, figure)
