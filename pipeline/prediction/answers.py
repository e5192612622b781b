"""Many videos come in, their answers go out as they are known: each video in a watched process.

A video that crashes its decoder, hangs or eats all memory is an answer like any other, and costs
nobody else theirs. The verdict is said before its page and film are made, which may fail. This
process only listens: torch, the model and the decoders are in the workers alone (answering.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.machine.devices import choose_device, may_have_gpu
from unmask.pipeline.machine.isolation import Crash
from unmask.pipeline.machine.watched import Say, listen
from unmask.pipeline.machine.worker_pool import worker_count
from unmask.pipeline.prediction.jobs import About, Job, Note
from unmask.pipeline.prediction.verdicts import Prediction, refused_prediction


@dataclass(frozen=True)
class Answering:
    """What a worker of predict does (machine/watched.py). threads: of the network and decoders."""

    config: PredictConfig
    threads: int
    modules: tuple[str, ...] = ("unmask.pipeline.prediction.answering",)

    def start(self) -> tuple[About, ...]:
        from unmask.pipeline.prediction import answering  # heavy, and the parent needs none of it

        return answering.open_models(self.config, self.threads)

    def __call__(self, job: Job, say: Say) -> None:
        from unmask.pipeline.prediction import answering

        answering.answer(job, self.config, say)


def answers(
    jobs: Sequence[Job], config: PredictConfig
) -> Iterator[tuple[Job | None, tuple[About, ...] | float | Prediction | Note]]:
    """Everything about every video as it becomes known, videos in the order in which they end.

    First (None, the models); then of each job the share of it that is done, once its Prediction,
    and a Note for its page and for its film.
    Raises CheckpointError and UsageError of models that cannot be opened or answer no numbers.
    """
    workers = _workers(config, len(jobs))
    # All cores are used either way; how a sum is split among threads decides its last bit.
    threads = max(1, worker_count(-1) // workers)
    answered = set()
    task = Answering(config, threads)
    for job, value in listen(task, jobs, workers=workers, seconds=config.limits.seconds):
        if isinstance(value, Prediction):
            answered.add(job)
        elif isinstance(value, Crash) and job is not None:
            if job in answered:
                target = job.film or job.page
                value = Note(f"{target}: not written, {value.reason}: {value.detail}", failed=True)
            else:
                yield job, refused_prediction(job.path, value.reason, value.detail)
                for target in filter(None, (job.page, job.film)):
                    yield job, Note(f"{target}: not written, {value.reason}")
                continue
        yield job, value


def _workers(config: PredictConfig, videos: int) -> int:
    wanted = min(worker_count(config.jobs), max(1, videos))
    if config.jobs > 0 or wanted == 1 or config.device == "cpu" or not may_have_gpu():
        return wanted
    # A GPU is the bottleneck, and every process keeps a model in its memory.
    return 1 if choose_device(config.device) == "cuda" else wanted
