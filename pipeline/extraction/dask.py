"""The tasks of dispatch.py on a Dask cluster, through joblib's own backend: extract --scheduler
tcp://HOST:PORT.

Dask itself repeats what a dead machine held; a video that kills its process costs itself there as
on one machine.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, delayed, parallel_config

from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.extraction import dispatch as processes
from unmask.pipeline.extraction.resume import finished
from unmask.pipeline.records import Outcome, Video

log = logging.getLogger(__name__)

SCHEDULER_SECONDS = 10


def dispatch(videos: Sequence[Video], config: ExtractConfig, parent: Path) -> Iterator[Outcome]:
    """Run every video somewhere on the cluster and yield the outcomes as they come.

    Raises: UsageError where no scheduler answers or Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'unmask[dask]'") from error
    try:
        client = Client(config.scheduler, timeout=SCHEDULER_SECONDS, set_as_default=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler {config.scheduler}: no Dask scheduler answers there ({error})"
        ) from error
    if not client.scheduler_info()["workers"]:
        log.warning(
            "%s has no worker yet: start some with `dask worker`, one thread each", config.scheduler
        )
    with client, parallel_config(backend="dask", client=client):
        tasks = (delayed(_task)(video, config, parent) for video in videos)
        yield from Parallel(return_as="generator_unordered", batch_size=1)(tasks)


def _task(video: Video, config: ExtractConfig, parent: Path) -> Outcome:
    """A task that Dask may run twice: the second time it finds the video committed.

    The work is done in a child process, as on one machine: a video that crashes, hangs or eats all
    memory costs itself, where Dask would try it on one worker after the other and then give the
    whole run up.
    """
    known = finished(video, parent, config)
    if known is not None:
        return known
    process = multiprocessing.current_process()
    if (
        process.daemon
    ):  # Dask's nanny makes its workers so, and such a process may not have children
        process.daemon = False
    return next(processes.dispatch([video], replace(config, jobs=1, scheduler=None), parent))
