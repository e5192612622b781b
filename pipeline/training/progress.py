"""Where a training run stands: what a checkpoint keeps of it, what a terminal shows, what the
caller gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Progress:
    """Where a run stands; together with the tensors this is all a checkpoint needs.

    step: optimizer steps walked.
    batch: of this epoch.
    skipped: steps without a finite loss; row: in a row.
    auc, log_loss, best_epoch: of the best validation.
    log_bytes: length of metrics.jsonl.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    skipped: int = 0
    row: int = 0
    auc: float | None = None
    log_loss: float | None = None
    best_epoch: int = 0
    log_bytes: int = 0


@dataclass(frozen=True)
class Started:
    """A run that is about to take its first step: where, of what, on what.

    parameters: of the network.
    videos: that it trains on; missing: of the manifest, but not in the cache.
    warnings: of the manifest and of what was decided for the user, each one line.
    device: cpu or cuda; precision: as Lightning names it, 32-true.
    step, epoch: where it goes on, 0 in a new run; steps: at its end.
    """

    run: Path
    model: str
    parameters: int
    videos: int
    missing: int
    warnings: tuple[str, ...]
    device: str
    precision: str
    step: int
    steps: int
    epoch: int


@dataclass(frozen=True)
class Live:
    """What a progress line shows after a step.

    loss: of the step, not finite where it was lost.
    auc: of the best validation so far.
    wait: share of time without data.
    left: seconds to the last step.
    """

    step: int
    steps: int
    epoch: int
    loss: float | None
    auc: float | None
    clips_per_second: float
    wait: float
    left: float


@dataclass(frozen=True)
class Result:
    """How a training ended. exit_code: 0 finished, 130 or 143 stopped and resumable."""

    run: Path
    progress: Progress
    exit_code: int
