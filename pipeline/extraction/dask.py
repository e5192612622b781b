"""The tasks of dispatch.py on a Dask cluster: extract --scheduler tcp://HOST:PORT.

Dask itself repeats what a dead machine held; a video that kills its process costs itself there as
on one machine. A cluster without workers is waited for, with a message and a limit, and what was
done until then stays done.

Whoever reaches a Dask scheduler or worker may run code on it, and nothing on the way is encrypted
unless Dask is given certificates (`tls://`, its security settings): use it in a trusted network
only.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.errors import ClusterError, UsageError
from unmask.pipeline.extraction import dispatch as processes
from unmask.pipeline.extraction.one_video import refused_outcome
from unmask.pipeline.extraction.resume import finished
from unmask.pipeline.machine.worker_pool import QUEUED_PER_WORKER
from unmask.pipeline.records import Outcome, Video

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

# How long a scheduler may take to answer, and a cluster may be without any worker.
SCHEDULER_SECONDS, WORKER_SECONDS = 10, 300.0

POLL_SECONDS = 0.5


def dispatch(videos: Sequence[Video], config: ExtractConfig, parent: Path) -> Iterator[Outcome]:
    """Run every video somewhere on the cluster and yield the outcomes as they come.

    Raises: UsageError where no scheduler answers or Dask is not installed; ClusterError when the
        scheduler goes away, or no worker was there for WORKER_SECONDS.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'unmask[dask]'") from error
    try:
        client = Client(config.scheduler, timeout=SCHEDULER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler {config.scheduler}: no Dask scheduler answers there ({error})"
        ) from error
    try:
        yield from _on_cluster(client, videos, config, parent)
    finally:
        client.close(timeout=SCHEDULER_SECONDS)


def _on_cluster(
    client: Client, videos: Sequence[Video], config: ExtractConfig, parent: Path
) -> Iterator[Outcome]:
    """Hand out a few videos for each thread of the cluster, the next ones as they end."""
    left = iter(videos)
    running: dict[Future, Video] = {}
    last_seen, warned = time.monotonic(), False
    while True:
        threads = _threads(client, config)
        if threads:
            last_seen, warned = time.monotonic(), False
        elif time.monotonic() - last_seen > WORKER_SECONDS:
            raise ClusterError(
                f"{config.scheduler}: no Dask worker for {WORKER_SECONDS:g} s; start some with "
                "`dask worker`, one thread each, and run the same command again: it goes on "
                "where it stopped"
            )
        elif not warned:
            log.warning(
                "%s has no worker: start some with `dask worker`, one thread each; waiting up to "
                "%g s",
                config.scheduler,
                WORKER_SECONDS,
            )
            warned = True
        for video in islice(left, max(0, QUEUED_PER_WORKER * threads - len(running))):
            running[client.submit(_task, video, config, parent, pure=False)] = video
        ended = [future for future in running if future.done()]
        for future in ended:
            yield _outcome(future, running.pop(future), config)
        if not running and threads and not ended:
            return
        if not ended:
            time.sleep(POLL_SECONDS)


def _threads(client: Client, config: ExtractConfig) -> int:
    """Threads of all workers of the cluster. Raises: ClusterError when its scheduler is gone."""
    try:
        if client.status == "running":
            return sum(client.nthreads().values())
    except (OSError, ValueError, RuntimeError) as error:
        log.info("the scheduler does not answer", exc_info=error)
    raise ClusterError(
        f"{config.scheduler}: the Dask scheduler is gone; start it again and run the same command: "
        "it goes on where it stopped"
    )


def _outcome(future: Future, video: Video, config: ExtractConfig) -> Outcome:
    """What the task returned; a video under which one machine after the other went away is refused
    for now.

    Raises: PipelineError that ends all, such as a full disk; ClusterError when the task was lost.
    """
    from distributed import KilledWorker

    if future.status not in ("finished", "error"):
        raise ClusterError(
            f"{config.scheduler}: the Dask scheduler lost its tasks; run the same command again: "
            "it goes on where it stopped"
        )
    fault = future.exception()
    if isinstance(fault, KilledWorker):
        return refused_outcome(video, "decoder_crash", "its Dask workers died one after the other")
    return future.result()


def _task(video: Video, config: ExtractConfig, parent: Path) -> Outcome:
    """A task that Dask may run twice: the second time it finds the video committed.

    The work is done in a child process, as on one machine: a video that crashes, hangs or eats all
    memory costs itself, where Dask would try it on one worker after the other and then give the
    whole run up.
    """
    outcome = finished(video, parent, config)
    if outcome is not None:
        return outcome
    process = multiprocessing.current_process()
    # Dask's nanny makes its workers daemons, and such a process may not have children.
    if process.daemon:
        process.daemon = False
    # To its end: a generator that is dropped stops its workers, and the next video would load all
    # libraries again.
    (outcome,) = processes.dispatch([video], replace(config, jobs=1, scheduler=None), parent)
    return outcome
