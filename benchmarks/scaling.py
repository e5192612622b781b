"""Does a large dataset cost more per video than a small one, and does the parent process grow with
it?
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rows import Row
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.records import Video

TINY = ExtractConfig(crop=CropConfig(clips=2, frames=3, size=64, bands=False), jobs=2)


def rows(scratch: Path, full: bool) -> list[Row]:
    """100 tiny videos against 2,000 (400 in the quick form), in one process with two workers."""
    few, many = 100, 2000 if full else 400
    command = [
        sys.executable,
        "-m",
        "benchmarks.scaling",
        str(scratch / "tiny"),
        str(few),
        str(many),
    ]
    found = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    each, grown = found["each_ms"], found["grown_mb"]
    note = (
        f"{each[0]:.1f} ms a video at {few:,}, {each[1]:.1f} ms at {many:,}, medians of 3 "
        "runs of each size"
    )
    return [
        Row(
            f"time per video, {many:,} tiny videos",
            f"{few} tiny videos",
            each[1] / each[0],
            1.1,
            note,
            most=True,
        ),
        Row(
            "growth of the parent, MB",
            "50 MB",
            grown,
            50.0,
            f"from {few:,} to {many:,} videos",
            most=True,
        ),
    ]


def main() -> None:
    """What the row needs, measured in a process whose memory nobody else used."""
    from unmask.pipeline.extraction import run as extraction
    from unmask.pipeline.machine import worker_pool

    folder, few, many = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    shutil.rmtree(folder, ignore_errors=True)
    videos = plant(folder / "videos", many)

    def run(count: int) -> float:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        started = time.perf_counter()
        outcomes = extraction.extract(videos[:count], TINY, folder / "cache")
        assert all(outcome.status == "ok" for outcome in outcomes), outcomes
        return time.perf_counter() - started

    run(few)
    before = resident_mb()
    seconds = {few: [], many: []}
    for _ in range(3):
        for count in (few, many):
            seconds[count].append(run(count) / count * 1000)
    grown = resident_mb() - before
    worker_pool.stop_workers()
    shutil.rmtree(folder, ignore_errors=True)
    each = [sorted(seconds[count])[1] for count in (few, many)]
    json.dump({"each_ms": each, "grown_mb": grown}, sys.stdout)


def plant(folder: Path, count: int) -> list[Video]:
    """So many names of one small drawn video."""
    first = folder / "v00000.mp4"
    encode_video(
        first,
        (picture for picture, _ in draw_frames(draw_identity(3), 12, (160, 120), seed=3, face=0.7)),
    )
    paths = [first, *(folder / f"v{number:05}.mp4" for number in range(1, count))]
    for path in paths[1:]:
        path.hardlink_to(first)
    return [Video("tiny", path.stem, path.stem, path, 0) for path in paths]


def resident_mb() -> float:
    """Memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
