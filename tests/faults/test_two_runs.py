"""Two extractions at once: with the lock the second says who holds it, without it both end in the
same tree.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unmask.pipeline.demo.dataset import DemoConfig, draw_dataset
from unmask.pipeline.sources.dataset import DRAWN_MARKER

ROOT = Path(__file__).parent.parent.parent


def two_runs(
    root: Path, work: Path, videos: int, repeats: int, figure: Callable[[str, str], None]
) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.faults.two_runs",
        str(root),
        str(work),
        str(videos),
        str(repeats),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout.splitlines()[-1])
    told = ", ".join(
        f"{count} {what}"
        for what, count in result.items()
        if what not in ("videos", "runs", "told")
    )
    figure(
        "two extracts on one cache",
        f"{result['videos']} videos x {repeats} repeats without and with lock: {told}; "
        f"{result['told']} told to wait",
    )
    assert result["videos"] == videos and result["runs"] == 4 * repeats
    assert [result[name] for name in ("errors", "different", "leftovers")] == [0, 0, 0], run.stderr[
        -2000:
    ]
    assert result["told"] <= repeats, "one of two always comes through"


def test_two_runs_at_once(drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]) -> None:
    two_runs(drawn, tmp_path, 6, 3, figure)


@pytest.mark.slow
def test_two_runs_at_once_over_twenty_videos(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    config = DemoConfig(train_pairs=2, val_pairs=1, test_pairs=1, frames=12, width=320, height=240)
    list(draw_dataset(tmp_path / "drawn", config))
    (tmp_path / "drawn" / DRAWN_MARKER).unlink()  # it stands for the real FaceForensics++
    two_runs(tmp_path / "drawn", tmp_path, 20, 10, figure)
