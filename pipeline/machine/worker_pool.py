"""Worker processes of joblib: started quietly, stopped surely, and described when they die.

They are forked from a server that has loaded the libraries once: to load them in each took three
seconds of a core and 300 MB that forked workers share.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor

from unmask.pipeline.config import ExtractConfig, Limits
from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.memory import (
    is_memory_error,
    keep_some_freed_memory,
    limit_memory,
)
from unmask.pipeline.machine.server import ONE_THREAD, main_is_repeatable, server

QUEUED_PER_WORKER = 2


class _Standing:
    """The pool that stands, if one does."""

    workers = 0


def stop_workers() -> None:
    """End all worker processes now; otherwise they stay for the next call and leave when idle or
    with the parent.
    """
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    _Standing.workers = 0


def worker_count(jobs: int) -> int:
    """Videos at a time for --jobs: -1 one per core this process may use, -2 all but one, 3 exactly
    three.

    Raises: UsageError for 0.
    """
    if jobs == 0:
        raise UsageError("--jobs 0: expected a positive number, or -1 for one worker per core")
    return jobs if jobs > 0 else max(1, cpu_count() + 1 + jobs)


def crash_detail(reason: str, told: str, config: ExtractConfig) -> str:
    """One line for a person on how a worker ended; told: what faulthandler wrote before it did."""
    if reason == "timeout":
        return f"stopped by the watchdog after {config.limits.seconds:g} s"
    if reason == "out_of_memory":
        return "the worker was killed (SIGKILL), as the system does when memory runs out"
    first = next(
        (line for line in told.splitlines() if line.strip()),
        "the worker process ended without a word",
    )
    return first.strip()[:200]


def worker_pool(workers: int, config: ExtractConfig, modules: Sequence[str] = ()):
    """The pool of this many workers, started when there is none like it.

    modules: what each of them needs first; the server imports it once.
    Raises UsageError for a memory limit under which the libraries themselves do not load.
    """
    # joblib changes the size of a pool that stands, and waits for ever if a worker dies meanwhile.
    if _Standing.workers != workers:
        stop_workers()
        _Standing.workers = workers
    # CUDA reserves address space by the terabyte.
    memory_mib = config.limits.memory_mib if config.crop.device == "cpu" else 0
    pool = get_reusable_executor(
        max_workers=workers,
        timeout=60,
        context=_context(modules),
        initializer=_start_worker,
        initargs=(os.getpid(), memory_mib, dict(os.environ)),
        env=ONE_THREAD,  # for joblib's way
    )
    if memory_mib and memory_mib < Limits.memory_mib:
        _check_libraries_fit(memory_mib)
    return pool


def _context(modules: Sequence[str]) -> multiprocessing.context.BaseContext | None:
    """How workers are started: forked from a server, or None for joblib's own way, which no main
    script disturbs.
    """
    if not main_is_repeatable() or "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    return server((*modules, __name__))


@functools.cache
def _check_libraries_fit(memory_mib: int) -> None:
    """Load in a worker what every worker loads first."""
    try:
        get_reusable_executor(reuse=True).submit(settle).result()
    except Exception as error:
        if not (isinstance(error, BrokenProcessPool) or is_memory_error(error)):
            raise
        stop_workers()
        raise too_tight(memory_mib, "the libraries alone need") from None


def too_tight(memory_mib: int, who: str) -> UsageError:
    """The error of a memory limit under which nothing can begin; who: and "need(s)"."""
    return UsageError(
        f"--memory-limit {memory_mib}: {who} more MiB of address space; {Limits.memory_mib} is "
        "the default, 0 sets none"
    )


def _start_worker(parent_pid: int, memory_mib: int, environment: dict[str, str]) -> None:
    """The parent's environment of today, not that in which the server began; an optional memory
    limit; and no life after the parent's death.
    """
    os.environ.clear()
    os.environ.update({**environment, **ONE_THREAD})
    limit_memory(memory_mib)
    threading.Thread(target=_die_with, args=(parent_pid,), daemon=True).start()


def _die_with(parent_pid: int) -> None:
    """A worker that outlives a killed parent would write beside the next run; ours because joblib
    lets it finish.
    """
    if os.getppid() == parent_pid:
        while os.getppid() == parent_pid:
            time.sleep(0.2)
    else:  # forked from the server, which tells of the parent's death
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
    os._exit(0)


@functools.cache
def settle() -> None:
    """What a worker does once, before its first video: one thread, and pages of freed memory kept
    for the next clip.

    Two workers with two threads each on two cores were measured 2.9x slower than with one each.
    """
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_some_freed_memory()
