"""Tasks that misbehave in a worker as real decoders do; a module, because worker processes import
them by name.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.errors import DiskError
from unmask.pipeline.extraction import dispatch
from unmask.pipeline.records import Outcome, Video

task = dispatch._task
PLAN = "hostile.txt"


def misbehave(how: str) -> None:
    """Crash, die or hang the way native code does."""
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(7)
    elif how == "hang":
        ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the interpreter's lock, as a stuck decoder may
    elif how == "memory":
        raise MemoryError("cannot allocate 96 GiB")
    elif how == "bug":
        raise ZeroDivisionError("a fault of ours")
    elif how == "full":
        raise DiskError(
            "cache: not written (No space left on device: 1.0 MiB needed, 0.0 MiB free)"
        )
    elif how == "slow":
        time.sleep(0.3)


def hostile_task(
    videos: Sequence[Video], config: ExtractConfig, parent: Path, notes: Path
) -> list[Outcome]:
    """The real task, but a video that the plan file names does what it says in place of being
    extracted.
    """
    plan = dict(line.split() for line in (parent / PLAN).read_text().splitlines())

    def extract_video(video: Video, config: ExtractConfig, parent: Path) -> Outcome:
        try:
            misbehave(plan.get(video.video_id, "slow"))
        except MemoryError as error:  # the real one turns it into an outcome, too
            return Outcome(video.video_id, "failed", "out_of_memory", str(error))
        return Outcome(video.video_id, "ok")

    def extract_beside(
        videos: Sequence[Video], config: ExtractConfig, parent: Path
    ) -> list[Outcome]:
        with ThreadPoolExecutor(len(videos)) as pool:
            return list(pool.map(lambda video: extract_video(video, config, parent), videos))

    dispatch.extract_video, dispatch.extract_beside = extract_video, extract_beside
    dispatch.settle = lambda: None  # its imports take seconds and are not what is tried here
    return task(videos, config, parent, notes)


def die_at_start(parent_pid: int, memory_mib: int) -> None:
    """A worker on a machine where a library of ours brings the process down."""
    os._exit(9)
