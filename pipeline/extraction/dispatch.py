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
from collections import deque
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
from unmask.pipeline.extraction.probe import NEEDED
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
    tasks, workers = _shared_out(videos, config)
    fruitless = 0
    with scratch_folder(parent / "started") as notes:
        try:
            while tasks:
                videos_before = sum(map(len, tasks))
                suspects: list[Video] = []
                current = Round(tasks, workers, config, parent, notes)
                while current.goes_on():
                    current.submit()
                    outcomes, interrupted = current.collect()
                    suspects += interrupted
                    yield from outcomes
                for suspect in suspects:
                    yield from _judge(suspect, tasks, config, parent, notes)
                fruitless = fruitless + 1 if sum(map(len, tasks)) == videos_before else 0
                if fruitless == STARTS:
                    raise PipelineError(
                        f"{STARTS} times the worker processes ended before they could begin a "
                        "video; what they said is above, `unmask doctor` looks for the usual "
                        "causes (memory limit, broken libraries)"
                    )
        except BaseException:  # Ctrl-C, SIGTERM, a full disk, or a caller that stops listening
            stop_workers()
            raise


class Round:
    """The life of one pool: tasks are handed out and their outcomes collected until none is left
    or a worker dies.

    tasks: videos that share a task, the next task first; what this round takes is removed, what
        must be tried in another one is added.
    """

    def __init__(
        self,
        tasks: deque[list[Video]],
        workers: int,
        config: ExtractConfig,
        parent: Path,
        notes: Path,
    ) -> None:
        self.tasks, self.config, self.parent, self.notes = tasks, config, parent, notes
        self.pool = worker_pool(workers, config, NEEDED)
        self.room = QUEUED_PER_WORKER * workers
        self.running: dict[Future[list[Outcome]], list[Video]] = {}
        self.broken = False

    def goes_on(self) -> bool:
        """Whether something runs, or can still be handed out."""
        return bool(self.running) or bool(self.tasks and not self.broken)

    def submit(self) -> None:
        """Hand out tasks as long as the pool lives and has room for them."""
        while self.tasks and not self.broken and len(self.running) < self.room:
            task = self.tasks[0]
            try:
                future = self.pool.submit(_task, task, self.config, self.parent, self.notes)
            except (BrokenProcessPool, RuntimeError):  # the pool died between two submits
                self.broken = True
                return
            self.running[future] = self.tasks.popleft()

    def collect(self) -> tuple[list[Outcome], list[Video]]:
        """Wait for the next tasks to end: outcomes, and suspects, whose worker died.

        Raises: PipelineError that ends all, such as a full disk.
        """
        outcomes: list[Outcome] = []
        suspects: list[Video] = []
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        for future in done:
            videos, fault = self.running.pop(future), future.exception()
            if isinstance(fault, BrokenProcessPool):
                suspects += videos
                self.broken = True
            elif len(videos) == 1 or fault is None or _ends_all(fault):
                outcomes += self._outcomes(future, videos)
            else:
                log.warning(
                    "a fault of unmask with %d videos beside each other, each is tried alone",
                    len(videos),
                )
                log.info("the fault", exc_info=fault)
                outcomes += _each_alone(videos, self.tasks, self.config, self.parent)
        return outcomes, suspects

    def _outcomes(self, future: Future[list[Outcome]], videos: Sequence[Video]) -> list[Outcome]:
        """What the task returned; a video that lacked memory beside others is tried again alone."""
        outcomes = []
        for video, outcome in zip(videos, _results(future, videos), strict=True):
            if len(videos) > 1 and outcome.reason == "out_of_memory":
                self.tasks.append([video])
            else:
                outcomes.append(outcome)
        return outcomes


def _shared_out(videos: Sequence[Video], config: ExtractConfig) -> tuple[deque[list[Video]], int]:
    """The tasks in order, and the processes for them.

    --jobs counts videos that are worked on at a time: each has a process on a CPU, a thread of one
    on a GPU.
    """
    beside, at_a_time = BESIDE[config.crop.device], worker_count(config.jobs)
    workers = min(-(-at_a_time // beside), max(1, len(videos)))
    beside = max(1, min(beside, at_a_time // workers, len(videos) // workers))
    return deque(list(videos[k : k + beside]) for k in range(0, len(videos), beside)), workers


def _judge(
    suspect: Video, tasks: deque[list[Video]], config: ExtractConfig, parent: Path, notes: Path
) -> list[Outcome]:
    """Guilty by its own note; innocent if it had not begun (back to the tasks); else tried once
    more, alone.
    """
    note = notes / suspect.video_id
    if not note.exists():
        return _each_alone([suspect], tasks, config, parent)
    last_words = note.read_text(errors="replace")
    note.unlink()
    reason = _reason(last_words)
    if not reason and (outcome := finished(suspect, parent, config)) is not None:
        return [outcome]
    if not reason:
        pool = worker_pool(1, config, NEEDED)
        future = pool.submit(_task, [suspect], config, parent, notes)
        crash = future.exception()
        if not isinstance(crash, BrokenProcessPool):
            return _results(future, [suspect])
        last_words = note.read_text(errors="replace") if note.exists() else ""
        note.unlink(missing_ok=True)
        killed = "out_of_memory" if "SIGKILL" in str(crash) else "decoder_crash"
        reason = _reason(last_words) or killed
        last_words = last_words or str(crash)
    refusal = refused_outcome(suspect, reason, crash_detail(reason, last_words, config))
    remember(parent, refusal, {})
    return [refusal]


def _each_alone(
    videos: Sequence[Video], tasks: deque[list[Video]], config: ExtractConfig, parent: Path
) -> list[Outcome]:
    """Back to the tasks, one by one; what was finished before its process died is not done twice,
    its outcome is returned.
    """
    outcomes = []
    for video in videos:
        outcome = finished(video, parent, config)
        if outcome is None:
            tasks.append([video])
        else:
            outcomes.append(outcome)
    return outcomes


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


def _reason(last_words: str) -> str:
    """What the fault handler wrote into a note, as a reason; empty when the process died without a
    word.
    """
    if "Timeout (" in last_words:
        return "timeout"
    return "decoder_crash" if "Fatal Python error" in last_words else ""


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
        last_words = open(own[0] if len(own) == 1 else os.devnull, "w")  # noqa: SIM115 closed below
    with last_words:
        faulthandler.enable(file=last_words, all_threads=False)
        faulthandler.dump_traceback_later(
            config.limits.seconds * len(videos), exit=True, file=last_words
        )
        try:
            if len(videos) > 1:
                return extract_beside(videos, config, parent)
            return [extract_video(videos[0], config, parent)]
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
            for note in own:
                note.unlink(missing_ok=True)
