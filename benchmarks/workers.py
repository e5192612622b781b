"""Two workers against one, memory of a worker, an hour against 17 seconds, and what 100,000 videos
would take.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import media
from benchmarks.extraction import decode_all
from benchmarks.rows import Row, alternate
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.extraction.one_video import extract_video
from unmask.pipeline.machine import worker_pool
from unmask.pipeline.records import Video

VIDEOS, HOUR = 100_000, 214  # 214 times 17 s


def rows(scratch: Path, full: bool) -> list[Row]:
    """Pools are warm: what starting costs is told in the note, once per run of any length."""
    small, large = (media.make(scratch, size, "4:2:0") for size in ("720p", "1080p"))
    return [*_two_workers(scratch, small, large, full), *_hour(scratch, large, full)]


def _two_workers(scratch: Path, small: media.Clip, large: media.Clip, full: bool) -> list[Row]:
    paths = [small.path, large.path] * (6 if full else 4)
    videos = _copies(scratch / "sources", paths)
    cache = scratch / "cache"
    runs: dict[str, Callable[[], object]] = {}
    for jobs in (1, 2):
        runs[f"start {jobs}"] = lambda jobs=jobs: _start(jobs, small.path, scratch / "starting")
        runs[f"{jobs}"] = lambda jobs=jobs: extract_all(videos, jobs, cache)
        runs[f"decode {jobs}"] = lambda jobs=jobs: _decode_all(jobs, paths[:4])
    seconds = alternate(runs, 5 if full else 3)
    worker_pool.stop_workers()
    shutil.rmtree(cache, ignore_errors=True)
    one, two = seconds["1"].wall, seconds["2"].wall
    size = sum(path.stat().st_size for path in paths) / len(paths)
    start = seconds["start 2"].wall
    note = (
        f"{len(videos)} videos, half 720p half 1080p: {one:.1f} s and {two:.1f} s; starting "
        f"two took {start:.1f} s"
    )
    plain = seconds["decode 1"].wall / seconds["decode 2"].wall
    return [
        Row("two workers", "one worker", one / two, 1.8, note),
        Row(
            "two plain decodes at a time",
            "one",
            plain,
            0,
            "what this machine gives to two processes",
        ),
        *cluster(one / len(videos), size),
    ]


def _decode_all(jobs: int, paths: list[Path]) -> None:
    """Plain sequential decodes in the same processes."""
    list(worker_pool.worker_pool(jobs, ExtractConfig()).map(decode_all, paths))


def _start(jobs: int, path: Path, folder: Path) -> None:
    """Start so many workers anew, and let each extract one video."""
    worker_pool.stop_workers()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pool = worker_pool.worker_pool(jobs, ExtractConfig())
    list(pool.map(_warm_up, [path] * jobs, [folder] * jobs, [jobs] * jobs))


def _warm_up(path: Path, folder: Path, jobs: int) -> None:
    """Runs in a worker: extract, then wait until all the others have, so that none does it
    twice.
    """
    own = folder / str(os.getpid())
    extract_video(Video("bench", own.name, own.name, path, 0), ExtractConfig(), folder)
    while sum(not entry.name.startswith(".") for entry in folder.iterdir()) < jobs:
        time.sleep(0.02)


def cluster(each: float, size: float) -> list[Row]:
    """Hours for VIDEOS on N machines of 16 cores, from the seconds that one video takes one worker.

    size: bytes of one video, read once; its crops and bands are about 13 MB in 6 files, written and
    synced once.
    """
    found = []
    for machines in (1, 4, 16, 64):
        hours = VIDEOS * each / (16 * machines) / 3600
        read, write = (VIDEOS * each_bytes / hours / 3.6e12 for each_bytes in (size, 1.3e7))
        files = VIDEOS * 6 / hours / 3600
        note = (
            f"arithmetic from {each:.2f} s a video and worker, nothing lost in between; the "
            "shared file system must "
            f"read {read:.2f} GB/s, write {write:.2f} GB/s and sync {files:,.0f} files/s"
        )
        what = f"hours for {VIDEOS:,} videos, {machines} x 16 cores"
        found.append(Row(what, "Dask or --shard", hours, 0, note))
    return found


def _copies(folder: Path, paths: list[Path]) -> list[Video]:
    """One entry per path, each a file of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    videos = []
    for number, path in enumerate(paths):
        copy = folder / f"v{number:04}{path.suffix}"
        copy.hardlink_to(path)
        videos.append(Video("bench", copy.stem, copy.stem, copy, 0))
    return videos


def extract_all(videos: list[Video], jobs: int, cache: Path) -> None:
    """Extract into an empty cache below `cache`, which stays. Raises RuntimeError when one is
    refused.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for outcome in extraction.extract(
        videos, ExtractConfig(jobs=jobs), Path(tempfile.mkdtemp(dir=cache))
    ):
        if outcome.status != "ok":
            raise RuntimeError(f"{outcome.video_id}: {outcome.reason} {outcome.detail}")


def _hour(scratch: Path, short: media.Clip, full: bool) -> list[Row]:
    long = media.loop(short, HOUR)
    found = {
        clip: [_alone(clip.path, short.path, scratch) for _ in range(3 if full else 2)]
        for clip in (short, long)
    }
    seconds = {clip: min(run["seconds"] for run in runs) for clip, runs in found.items()}
    peak = {clip: max(run["peak_mb"] for run in runs) for clip, runs in found.items()}
    gigabytes = long.path.stat().st_size / 1e9
    note = (
        f"{seconds[long]:.1f} s against {seconds[short]:.1f} s; the hour is {gigabytes:.2f} "
        "GB, hashed whole"
    )
    peaks = f"{peak[long]:,.0f} MB against {peak[short]:,.0f} MB, libraries and weights included"
    against = "the 17 s video"
    if not full:
        long.path.unlink()
    return [
        Row(
            "1 h of 1080p, wall time", against, seconds[long] / seconds[short], 5.0, note, most=True
        ),
        Row(
            "peak memory of a worker, 1 h of 1080p",
            against,
            peak[long] / peak[short],
            1.1,
            peaks,
            most=True,
        ),
        Row("peak memory of a worker, MB", "1 GB", max(peak.values()), 1000.0, peaks, most=True),
    ]


def _alone(path: Path, warm_up: Path, scratch: Path) -> dict[str, float]:
    """Extract one video in a process of its own: seconds after warming up, and its peak memory."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.one_video",
        str(path),
        str(warm_up),
        str(scratch / "alone"),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(scratch / "alone")
    return json.loads(done.stdout)
