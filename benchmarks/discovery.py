"""How fast a dataset is found on disk, and how much memory one video of it takes; no file is
opened.
"""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from pathlib import Path

from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

# what, against what, measured, target, note
Row = tuple[str, str, float, float, str]

PER_FOLDER = 1000


def plant(root: Path, files: int) -> None:
    """A labelled tree of empty files, a thousand per folder, half of them fake."""
    for start in range(0, files, PER_FOLDER):
        folder = (
            root / ("real" if start // PER_FOLDER % 2 else "fake") / f"part{start // PER_FOLDER}"
        )
        folder.mkdir(parents=True)
        for number in range(start, min(start + PER_FOLDER, files)):
            os.close(os.open(folder / f"video_{number}.mp4", os.O_CREAT | os.O_WRONLY))


def seconds(root: Path) -> float:
    """Best of three discoveries."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        discover("folder", root, SourceOptions())
        times.append(time.perf_counter() - started)
    return min(times)


def peak_bytes(root: Path) -> int:
    """Highest Python memory while discovering, list of videos included."""
    tracemalloc.start()
    discover("folder", root, SourceOptions())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def rows(full: bool = False) -> list[Row]:
    """Files found per second, and memory per file at a quarter of the files against all of them."""
    files = 200_000 if full else 20_000
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        plant(small, files // 4)
        plant(large, files)
        took = seconds(large)
        each = peak_bytes(small) / (files // 4), peak_bytes(large) / files
    note = f"{files:,} files in {took:.1f} s with splits and safe ids"
    return [
        (
            "discover: 1,000 files per second",
            "seconds for 200,000 files",
            files / took / 1000,
            20.0,
            note,
        ),
        (
            "discover: memory per file at 4x the files",
            "constant memory per file",
            each[0] / each[1],
            0.9,
            f"{each[0]:,.0f} bytes per file at {files // 4:,}, {each[1]:,.0f} at {files:,}",
        ),
    ]
