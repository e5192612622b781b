"""Inside a worker of predict: models that are opened once, and one video after the other."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.errors import PipelineError
from unmask.pipeline.machine.devices import choose_device
from unmask.pipeline.machine.memory import (
    address_space,
    is_memory_error,
    keep_some_freed_memory,
    limit_memory,
)
from unmask.pipeline.machine.watched import Say
from unmask.pipeline.machine.worker_pool import too_tight
from unmask.pipeline.prediction.annotated_video import annotate
from unmask.pipeline.prediction.jobs import About, Job, Note
from unmask.pipeline.prediction.predict import Looked, open_scorers, predict
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.prediction.verdicts import Prediction

log = logging.getLogger(__name__)


def open_models(config: PredictConfig, threads: int) -> tuple[About, ...]:
    """Settle the process, open its models, and say what is to be known of each.

    The memory limit is what extract's is, of libraries and one video; the models, which may be
    larger than both, come on top.
    Raises UsageError when the libraries do not fit into it, and as open_scorers.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    keep_some_freed_memory()
    memory_mib = config.limits.memory_mib
    if choose_device(config.device) == "cuda":
        memory_mib = 0  # CUDA reserves address space by the terabyte
    libraries = address_space()
    if memory_mib and memory_mib < libraries:
        raise too_tight(memory_mib, "the libraries alone need")
    scorers = _opened(config)
    if memory_mib:
        limit_memory(memory_mib + address_space() - libraries)
    return tuple(About(s.name, tuple(s.doubts), s.cautions) for s in scorers)


@functools.cache
def _opened(config: PredictConfig) -> list[Scorer]:
    return open_scorers(config)


def answer(job: Job, config: PredictConfig, say: Say) -> None:
    """The verdict on one video first, then its page and its film."""
    scorers = _opened(config)
    looked = predict(job.path, scorers, config, moments=job.page is not None, progress=say)
    say(looked.prediction)
    if job.page is not None:
        say(_page(job.page, looked, scorers, config))
    if job.film is not None:
        say(_film(job.film, looked.prediction, config, say))


def _page(target: Path, looked: Looked, scorers: Sequence[Scorer], config: PredictConfig) -> Note:
    # Draws pictures and plots, which no verdict needs.
    from unmask.pipeline.prediction.page import write_prediction_page

    try:
        write_prediction_page(target, looked, scorers, config)
    except Exception as error:  # whatever it is, the verdict is out and stays true
        return _not_written(target, error)
    return Note(f"report: {target}")


def _film(target: Path, prediction: Prediction, config: PredictConfig, say: Say) -> Note:
    if not prediction.members:
        return Note(f"{target}: not written, {prediction.reason}")
    try:
        annotate(prediction, target, config.limits, say)
    except Exception as error:  # as for the page
        return _not_written(target, error)
    return Note(f"annotated: {target}")


def _not_written(target: Path, error: Exception) -> Note:
    said = str(error)
    if said.startswith(f"{target}: not written"):
        return Note(said, failed=True)
    if isinstance(error, PipelineError):
        return Note(f"{target}: not written, {said}", failed=True)
    if is_memory_error(error):
        return Note(f"{target}: not written, memory ran out", failed=True)
    log.error("%s: a fault of unmask, please report it", target, exc_info=error)
    return Note(f"{target}: not written, {type(error).__name__}: {said}", failed=True)
