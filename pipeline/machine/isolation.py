"""A task for every item in worker processes, and an item that kills its worker costs nobody else.

The small sister of pipeline/extraction/dispatch.py for tasks that leave nothing on disk, such as
opening every file of a dataset.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.machine.memory import is_memory_error
from unmask.pipeline.machine.worker_pool import (
    QUEUED_PER_WORKER,
    crash_detail,
    stop_workers,
    worker_count,
    worker_pool,
)

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(frozen=True)
class Crash:
    """In place of a result: the worker died or had no memory. reason: of records.REASONS."""

    reason: str
    detail: str


def in_order(
    task: Callable[[Item], Result],
    items: Iterable[Item],
    config: ExtractConfig,
    modules: Sequence[str] = (),
) -> Iterator[Result | Crash]:
    """task(item) of every item in worker processes, in the order of the items; who kills its worker
    is a Crash.

    After a crash the items that were under way are tried again one by one, so that the guilty one
    costs itself only.

    modules: what the workers need first.
    """
    todo, workers = iter(items), worker_count(config.jobs)
    waiting: deque[tuple[Item, Future[Result] | None]] = deque()
    try:
        while True:
            while len(waiting) < QUEUED_PER_WORKER * workers:
                try:
                    item = next(todo)
                except StopIteration:
                    break
                waiting.append((item, _submitted(task, item, workers, config, modules)))
            if not waiting:
                return
            item, future = waiting.popleft()
            if future is not None and not isinstance(future.exception(), BrokenProcessPool):
                yield _result(future)
                continue
            suspects = [item, *(other for other, _ in waiting)]
            waiting.clear()
            for suspect in suspects:
                yield _alone(task, suspect, config, modules)
    except BaseException:
        stop_workers()
        raise


def _result(future: Future[Result]) -> Result | Crash:
    """What the task gave, or that memory ran out under it; its other errors are raised."""
    error = future.exception()
    if error is not None and is_memory_error(error):
        return Crash(
            "out_of_memory", str(error).partition("\n")[0][:200] or "the limit was reached"
        )
    return future.result()


def _submitted(
    task: Callable[[Item], Result],
    item: Item,
    workers: int,
    config: ExtractConfig,
    modules: Sequence[str],
) -> Future[Result] | None:
    """None when the pool has just died."""
    try:
        pool = worker_pool(workers, config, modules)
        return pool.submit(_watched, task, item, config.limits.seconds)
    except (BrokenProcessPool, RuntimeError):
        return None


def _alone(
    task: Callable[[Item], Result], item: Item, config: ExtractConfig, modules: Sequence[str]
) -> Result | Crash:
    started = time.monotonic()
    future = next(
        filter(None, (_submitted(task, item, 1, config, modules) for _ in range(2))), None
    )
    crash = BrokenProcessPool("no worker starts") if future is None else future.exception()
    if not isinstance(crash, BrokenProcessPool):
        return _result(future)
    late = time.monotonic() - started >= config.limits.seconds
    reason = "timeout" if late else "out_of_memory" if "SIGKILL" in str(crash) else "decoder_crash"
    return Crash(reason, crash_detail(reason, "", config))


def _watched(task: Callable[[Item], Result], item: Item, seconds: float) -> Result:
    """The task with a watchdog that ends the worker; what Python says of its death goes nowhere."""
    with open(os.devnull, "w") as nowhere:
        faulthandler.enable(file=nowhere)
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            return task(item)
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
