"""Shares videos out to processes so that a video can only ever cost itself.

Ours because joblib ends a whole call when one worker dies, and does not say which input was guilty.
Each video leaves a note in a scratch folder while it runs; Python's fault handler writes into that
note when the process crashes or the watchdog fires. After a crash the note names the guilty video.
Where no note speaks (SIGKILL, exit, several videos beside each other on a GPU), those that were
running are tried again alone, so every crash takes at least one video off the list and the run
ends.
"""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from unmask.pipeline.cache.refused import remember
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.disk.files import refusals
from unmask.pipeline.disk.folders import scratch_folder
from unmask.pipeline.errors import PipelineError
from unmask.pipeline.extraction.crops import BESIDE
from unmask.pipeline.extraction.one_video import extract_beside, extract_video, refused_outcome
from unmask.pipeline.extraction.resume import finished
from unmask.pipeline.machine.worker_pool import (
    QUEUED_PER_WORKER,
    crash_detail,
    settle,
    stop_workers,
    worker_count,
    worker_pool,
)
from unmask.pipeline.records import Outcome, Video

log = logging.getLogger(__name__)

# Pools that may die in a row before any of their videos has begun.
STARTS = 3


def dispatch(videos: Sequence[Video], config: ExtractConfig, parent: Path) -> Iterator[Outcome]:
    """Run every video in some worker and yield the outcomes as they come; a dead worker is an
    outcome too.

    Raises: KeyboardInterrupt and other stops of the parent, after all workers are gone.
    """
    waiting, workers = _shared_out(videos, config)
    fruitless = 0
    with scratch_folder(parent / "started") as notes:
        try:
            while waiting:
                left, interrupted = sum(map(len, waiting)), []
                yield from _until_a_crash(waiting, interrupted, workers, config, parent, notes)
                for video in interrupted:
                    yield from _verdict_after_crash(video, waiting, config, parent, notes)
                fruitless = fruitless + 1 if sum(map(len, waiting)) == left else 0
                if fruitless == STARTS:
                    raise PipelineError(
                        f"{STARTS} times the worker processes ended before they could begin a "
                        "video; what they said "
                        "is above, `unmask doctor` looks for the usual causes (memory limit, "
                        "broken libraries)"
                    )
        except BaseException:  # Ctrl-C, SIGTERM, a full disk, or a caller that stops listening
            stop_workers()
            raise


def _shared_out(videos: Sequence[Video], config: ExtractConfig) -> tuple[list[list[Video]], int]:
    """The tasks, the last one first, and the processes for them.

    --jobs counts videos that are worked on at a time: each has a process on a CPU, a thread of one
    on a GPU.
    """
    beside, at_a_time = BESIDE[config.crop.device], worker_count(config.jobs)
    workers = min(-(-at_a_time // beside), max(1, len(videos)))
    beside = max(1, min(beside, at_a_time // workers, len(videos) // workers))
    return [list(videos[k : k + beside]) for k in range(0, len(videos), beside)][::-1], workers


def _until_a_crash(
    waiting: list[list[Video]],
    interrupted: list[Video],
    workers: int,
    config: ExtractConfig,
    parent: Path,
    notes: Path,
) -> Iterator[Outcome]:
    """Feed the pool from the end of `waiting`; after a crash put what was handed out into
    `interrupted`.
    """
    pool = worker_pool(workers, config)
    running: dict[Future[list[Outcome]], list[Video]] = {}
    broken = False
    while running or (waiting and not broken):
        while waiting and not broken and len(running) < QUEUED_PER_WORKER * workers:
            videos = waiting.pop()
            try:
                running[pool.submit(_task, videos, config, parent, notes)] = videos
            except (BrokenProcessPool, RuntimeError):  # the pool died between two submits
                waiting.append(videos)
                broken = True
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            videos = running.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                interrupted += videos
                broken = True
            elif (
                len(videos) > 1
                and (fault := future.exception()) is not None
                and not _ends_all(fault)
            ):
                log.warning(
                    "a fault of unmask with %d videos beside each other, each is tried alone",
                    len(videos),
                )
                log.info("the fault", exc_info=fault)
                yield from _each_alone(videos, waiting, config, parent)
            else:
                for video, outcome in zip(videos, _results(future, videos), strict=True):
                    if (
                        len(videos) > 1 and outcome.reason == "out_of_memory"
                    ):  # perhaps the others took it
                        waiting.append([video])
                    else:
                        yield outcome


def _verdict_after_crash(
    video: Video, waiting: list[list[Video]], config: ExtractConfig, parent: Path, notes: Path
) -> Iterator[Outcome]:
    """Guilty by its own note; innocent if it had not begun (back to the list); else tried once
    more, alone.
    """
    note = notes / video.video_id
    if not note.exists():
        yield from _each_alone([video], waiting, config, parent)
        return
    told = note.read_text(errors="replace")
    note.unlink()
    reason = _reason(told)
    if not reason and (known := finished(video, parent, config)) is not None:
        yield known
        return
    if not reason:
        pool = worker_pool(1, config)
        future = pool.submit(_task, [video], config, parent, notes)
        crash = future.exception()
        if not isinstance(crash, BrokenProcessPool):
            yield from _results(future, [video])
            return
        told = note.read_text(errors="replace") if note.exists() else ""
        note.unlink(missing_ok=True)
        reason = _reason(told) or ("out_of_memory" if "SIGKILL" in str(crash) else "decoder_crash")
        told = told or str(crash)
    outcome = refused_outcome(video, reason, crash_detail(reason, told, config))
    remember(parent, outcome, {})
    yield outcome


def _each_alone(
    videos: Sequence[Video], waiting: list[list[Video]], config: ExtractConfig, parent: Path
) -> Iterator[Outcome]:
    """Back to the list, one by one; what was finished before its process died is not done twice."""
    for video in videos:
        known = finished(video, parent, config)
        if known is None:
            waiting.append([video])
        else:
            yield known


def _ends_all(fault: BaseException) -> bool:
    """Whether no other video would survive it either, such as a full disk."""
    return isinstance(fault, PipelineError)


def _results(future: Future[list[Outcome]], videos: Sequence[Video]) -> list[Outcome]:
    """What the task returned; a fault of ours is recorded with its only video and does not end a
    long run.

    Raises: PipelineError that ends all.
    """
    fault = future.exception()
    if fault is None or _ends_all(fault):
        return future.result()
    (video,) = videos
    log.error("%s: a fault of unmask, please report it", video.path, exc_info=fault)
    return [refused_outcome(video, "internal_error", f"{type(fault).__name__}: {fault}")]


def _reason(told: str) -> str:
    """What the fault handler wrote into a note, as a reason; empty when the process died without a
    word.
    """
    if "Timeout (" in told:
        return "timeout"
    return "decoder_crash" if "Fatal Python error" in told else ""


def _task(
    videos: Sequence[Video], config: ExtractConfig, parent: Path, notes: Path
) -> list[Outcome]:
    """Videos in this worker, with notes that outlive the process and a watchdog that no lock can
    hold up.

    Of several beside each other no note says more than that they were running: each is judged
    alone.
    """
    settle()
    own = [notes / video.video_id for video in videos]
    with refusals(own[0]):
        for note in own:
            note.touch()
        told = open(own[0] if len(own) == 1 else os.devnull, "w")  # noqa: SIM115 closed below
    with told:
        faulthandler.enable(file=told, all_threads=False)
        faulthandler.dump_traceback_later(config.limits.seconds * len(videos), exit=True, file=told)
        try:
            if len(videos) > 1:
                return extract_beside(videos, config, parent)
            return [extract_video(videos[0], config, parent)]
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
            for note in own:
                note.unlink(missing_ok=True)
