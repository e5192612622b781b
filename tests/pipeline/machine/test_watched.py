"""A task that dies, hangs, runs into a fault or out of memory costs its own item and nobody
else's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass

import numpy as np
import pytest

from unmask.pipeline.errors import CheckpointError, PipelineError
from unmask.pipeline.machine.isolation import Crash
from unmask.pipeline.machine.watched import Say, listen


@dataclass(frozen=True)
class Talk:
    """Does what each item says, in a real process."""

    start_with: str = ""
    modules: tuple[str, ...] = ("tests.pipeline.machine.test_watched",)

    def start(self) -> str:
        if self.start_with == "die":
            os._exit(3)
        if self.start_with == "refuse":
            raise CheckpointError("no such run")
        return "started"

    def __call__(self, item: str, say: Say) -> None:
        say(f"{item} begins in {os.getpid()}")
        if item.startswith("segfault"):
            ctypes.string_at(0)
        elif item.startswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif item.startswith("hang"):
            time.sleep(600)
        elif item.startswith("slow"):
            for step in range(4):
                time.sleep(0.8)
                say(step)
        elif item.startswith("fault"):
            raise ValueError("a fault of ours")
        elif item.startswith("large"):
            np.ones(10**15)
        elif item.startswith("refuse"):
            raise CheckpointError("the model answers nan")
        say(f"{item} ends")


def heard(task: Talk, items: list[str], workers: int = 2, seconds: float = 60.0):
    said: dict[str | None, list[object]] = {}
    for item, value in listen(task, items, workers=workers, seconds=seconds):
        said.setdefault(item, []).append(value)
    return said


def test_whoever_dies_or_breaks_costs_only_itself() -> None:
    items = ["a", "segfault", "b", "killed", "fault", "large", "c"]
    said = heard(Talk(), items)
    assert said[None] == ["started"]
    assert all(said[name][-1] == f"{name} ends" for name in "abc")
    assert all(str(said[name][0]).startswith(f"{name} begins") for name in items)
    crashes = {name: said[name][-1] for name in ("segfault", "killed", "fault", "large")}
    assert all(isinstance(crash, Crash) for crash in crashes.values())
    assert {name: crash.reason for name, crash in crashes.items()} == {
        "segfault": "decoder_crash",
        "killed": "out_of_memory",
        "fault": "internal_error",
        "large": "out_of_memory",
    }
    assert "SIGSEGV" in crashes["segfault"].detail
    assert crashes["fault"].detail == "ValueError: a fault of ours"


def test_silence_ends_a_task_and_progress_gives_it_more_time() -> None:
    started = time.monotonic()
    said = heard(Talk(), ["hang", "slow", "a"], seconds=2.5)
    assert said["hang"][-1] == Crash("timeout", "stopped by the watchdog after 2.5 s")
    assert said["slow"][1:] == [0, 1, 2, 3, "slow ends"], "3.2 s in all, never silent for 2.5"
    assert said["a"][-1] == "a ends"
    assert time.monotonic() - started < 300


def test_a_slow_item_holds_nobody_up() -> None:
    items = ["hang", *map(str, range(6))]
    order = []
    for item, value in listen(Talk(), items, workers=2, seconds=20.0):
        order.append((item, value))
        if sum(str(value).endswith("ends") for _, value in order) == 6:
            break  # the others are all answered while the first still hangs
    assert not any(isinstance(value, Crash) for _, value in order)


def test_no_worker_outlives_the_listener() -> None:
    talking = listen(Talk(), ["hang", "hang2"], workers=2, seconds=60.0)
    pids = [int(str(v).split()[-1]) for v in (next(talking)[1] for _ in range(3)) if "in" in str(v)]
    talking.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_errors_that_end_all_are_raised() -> None:
    with pytest.raises(CheckpointError, match="no such run"):
        heard(Talk("refuse"), ["a", "b"])
    with pytest.raises(CheckpointError, match="answers nan"):
        heard(Talk(), ["refuse"], workers=1)
    with pytest.raises(PipelineError, match="before it could begin"):
        heard(Talk("die"), ["a"])
