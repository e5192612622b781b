"""Shares videos out to processes so that a video can only ever cost itself.

Ours because joblib ends a whole call when one worker dies, and does not say which input was guilty. Each video
leaves a note in a scratch folder while it runs; Python's fault handler writes into that note when the process crashes
or the watchdog fires. After a crash the note names the guilty video. Where no note speaks (SIGKILL, exit, several
videos beside each other on a GPU), those that were running are tried again alone, so every crash takes at least one
video off the list and the run ends.
"""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor

from pipeline.atomic import refusals
from pipeline.commit import scratch_folder
from pipeline.config import ExtractConfig
from pipeline.devices import keep_some_freed_memory
from pipeline.errors import PipelineError, UsageError
from pipeline.outcomes import remember
from pipeline.records import Outcome, Video
from pipeline.video import BESIDE, extract_beside, extract_video, finished, refused

log = logging.getLogger(__name__)

QUEUED_PER_WORKER = 2

# Pools that may die in a row before any of their videos has begun.
STARTS = 3


def dispatch(videos: Sequence[Video], config: ExtractConfig, parent: Path) -> Iterator[Outcome]:
    """Run every video in some worker and yield the outcomes as they come; a dead worker is an outcome too.

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
                        f"{STARTS} times the worker processes ended before they could begin a video; what they said "
                        "is above, `unmask doctor` looks for the usual causes (memory limit, broken libraries)"
                    )
        except BaseException:  # Ctrl-C, SIGTERM, a full disk, or a caller that stops listening
            stop_workers()
            raise


def stop_workers() -> None:
    """End all worker processes now; otherwise they stay for the next call and leave when idle or with the parent."""
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def _shared_out(videos: Sequence[Video], config: ExtractConfig) -> tuple[list[list[Video]], int]:
    """The tasks, the last one first, and the processes for them.

    --jobs counts videos that are worked on at a time: each has a process on a CPU, a thread of one on a GPU.
    """
    beside, at_a_time = BESIDE[config.crop.device], worker_count(config.jobs)
    workers = min(-(-at_a_time // beside), max(1, len(videos)))
    beside = max(1, min(beside, at_a_time // workers, len(videos) // workers))
    return [list(videos[k : k + beside]) for k in range(0, len(videos), beside)][::-1], workers


def worker_count(jobs: int) -> int:
    """Videos at a time for --jobs: -1 one per core this process may use, -2 all but one, 3 exactly three.

    Raises: UsageError for 0.
    """
    if jobs == 0:
        raise UsageError("--jobs 0: expected a positive number, or -1 for one worker per core")
    return jobs if jobs > 0 else max(1, cpu_count() + 1 + jobs)


def _until_a_crash(
    waiting: list[list[Video]],
    interrupted: list[Video],
    workers: int,
    config: ExtractConfig,
    parent: Path,
    notes: Path,
) -> Iterator[Outcome]:
    """Feed the pool from the end of `waiting`; after a crash put what was handed out into `interrupted`."""
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
            elif len(videos) > 1 and (fault := future.exception()) is not None and not _ends_all(fault):
                log.warning("a fault of unmask with %d videos beside each other, each is tried alone", len(videos))
                log.info("the fault", exc_info=fault)
                yield from _each_alone(videos, waiting, config, parent)
            else:
                for video, outcome in zip(videos, _results(future, videos), strict=True):
                    if len(videos) > 1 and outcome.reason == "out_of_memory":  # perhaps the others took it
                        waiting.append([video])
                    else:
                        yield outcome


def _verdict_after_crash(
    video: Video, waiting: list[list[Video]], config: ExtractConfig, parent: Path, notes: Path
) -> Iterator[Outcome]:
    """Guilty by its own note; innocent if it had not begun (back to the list); else tried once more, alone."""
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
    outcome = refused(video, reason, crash_detail(reason, told, config))
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
    """What the task returned; a fault of ours is recorded with its only video and does not end a long run.

    Raises: PipelineError that ends all.
    """
    fault = future.exception()
    if fault is None or _ends_all(fault):
        return future.result()
    (video,) = videos
    log.error("%s: a fault of unmask, please report it", video.path, exc_info=fault)
    return [refused(video, "internal_error", f"{type(fault).__name__}: {fault}")]


def _reason(told: str) -> str:
    """What the fault handler wrote into a note, as a reason; empty when the process died without a word."""
    if "Timeout (" in told:
        return "timeout"
    return "decoder_crash" if "Fatal Python error" in told else ""


def crash_detail(reason: str, told: str, config: ExtractConfig) -> str:
    if reason == "timeout":
        return f"stopped by the watchdog after {config.limits.seconds:g} s"
    if reason == "out_of_memory":
        return "the worker was killed (SIGKILL), as the system does when memory runs out"
    first = next((line for line in told.splitlines() if line.strip()), "the worker process ended without a word")
    return first.strip()[:200]


def worker_pool(workers: int, config: ExtractConfig):
    return get_reusable_executor(
        max_workers=workers, timeout=60, initializer=_start_worker, initargs=(os.getpid(), config.limits.memory_mib)
    )


def _start_worker(parent_pid: int, memory_mib: int) -> None:
    """One thread each, an optional memory limit, and no life after the parent's death."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    if memory_mib:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    if parent_pid:
        threading.Thread(target=_die_with, args=(parent_pid,), daemon=True).start()


def _die_with(parent_pid: int) -> None:
    """A worker that outlives a killed parent would write beside the next run; ours because loky lets it finish."""
    while os.getppid() == parent_pid:
        time.sleep(0.2)
    os._exit(0)


def _task(videos: Sequence[Video], config: ExtractConfig, parent: Path, notes: Path) -> list[Outcome]:
    """Videos in this worker, with notes that outlive the process and a watchdog that no lock can hold up.

    Of several beside each other no note says more than that they were running: each is judged alone.
    """
    settle()
    own = [notes / video.video_id for video in videos]
    with refusals(own[0]):
        for note in own:
            note.touch()
        told = open(own[0] if len(own) == 1 else os.devnull, "w")  # noqa: SIM115, closed below
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


@functools.cache
def settle() -> None:
    """What a worker does once, before its first video: one thread, and pages of freed memory kept for the next clip.

    Two workers with two threads each on two cores were measured 2.9x slower than with one each.
    """
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_some_freed_memory()
