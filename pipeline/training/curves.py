"""What training writes while it runs: metrics.jsonl (no clock in it), speed.jsonl (only clocks),
TensorBoard.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from unmask.pipeline.disk.files import refusals
from unmask.pipeline.disk.permissions import like_parent, opened_like_parent
from unmask.pipeline.runs.run_folder import METRICS, SPEED


class Clock:
    """Seconds, clips, steps and waiting of one epoch."""

    def __init__(self) -> None:
        self.start, self.clips, self.steps, self.waited = time.monotonic(), 0, 0, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside the block as time without data."""
        before = time.monotonic()
        yield
        self.waited += time.monotonic() - before

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.start, 1e-9)

    @property
    def rate(self) -> float:
        """Clips per second so far."""
        return self.clips / self.seconds

    @property
    def wait(self) -> float:
        """Share of the time in which the model had no data."""
        return self.waited / self.seconds


class Curves:
    """The curves of one run, written by the first process only.

    length: bytes of metrics.jsonl that belong to the checkpoint gone back to; what a killed run
        wrote after it is cut off and written again.
    step: of that checkpoint, from which TensorBoard's curves go on.
    """

    def __init__(
        self, run: Path, length: int, step: int, *, write: bool, tensorboard: bool
    ) -> None:
        self.run, self._length, self._step, self._write, self._board = (
            run,
            length,
            step,
            write,
            None,
        )
        self._tensorboard = tensorboard and write

    def __enter__(self) -> Curves:
        if self._write:
            with refusals(self.run / METRICS):
                self._file = open(self.run / METRICS, "ab", buffering=0, opener=opened_like_parent)
                self._file.truncate(self._length)
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # half a second to import

            folder = self.run / "tensorboard"
            with refusals(folder):
                like_parent(folder)
                self._board = SummaryWriter(str(folder), purge_step=self._step + 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._write:
            self._file.close()
        if self._board is not None:
            # What the disk refused before is the error to tell, not that its end is refused too.
            with contextlib.suppress(OSError) if error else refusals(self.run / "tensorboard"):
                self._board.close()

    def flush(self) -> int:
        """Put metrics.jsonl on the disk and return its length, bytes."""
        with refusals(self.run / METRICS):
            os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def step(
        self, epoch: int, step: int, loss: float | None, rate: float, clips: int, order: int
    ) -> None:
        """One step. loss: None when it was skipped.

        order: checksum of its samples.
        """
        line = {
            "kind": "step",
            "epoch": epoch,
            "step": step,
            "loss": loss,
            "lr": rate,
            "clips": clips,
        }
        self._line({**line, "order": f"{order:08x}"})
        self._draw(step, {"loss": loss, "lr": rate})

    def validation(
        self, epoch: int, step: int, auc: float | None, log_loss: float | None, best: bool
    ) -> None:
        """The end of an epoch: video AUC and log-loss of the validation manifest, None where
        undefined.
        """
        self._line(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": step,
                "auc": auc,
                "log_loss": log_loss,
                "best": best,
            }
        )
        self._draw(step, {"validation/auc": auc, "validation/log_loss": log_loss})

    def speed(self, epoch: int, step: int, clock: Clock) -> None:
        """How fast an epoch was."""
        if not self._write or not clock.clips:
            return
        line = {
            "epoch": epoch,
            "clips_per_second": clock.rate,
            "wait": clock.wait,
            "seconds": clock.seconds,
        }
        path = self.run / SPEED
        with refusals(path), open(path, "ab", opener=opened_like_parent) as file:
            file.write(json.dumps(line).encode() + b"\n")
        self._draw(step, {"speed/clips_per_second": clock.rate, "speed/wait": clock.wait})

    def _line(self, values: dict[str, Any]) -> None:
        if self._write:
            with refusals(self.run / METRICS):
                self._file.write(json.dumps(values, allow_nan=False).encode() + b"\n")

    def _draw(self, step: int, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            if self._board is not None and value is not None:
                with refusals(self.run / "tensorboard"):
                    self._board.add_scalar(name, value, step)
