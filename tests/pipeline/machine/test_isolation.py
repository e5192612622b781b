"""Whatever a task does to its process, every item has its answer, in order, and only the guilty
one is a crash.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.trees import find, plant
from unmask.pipeline.config import ExtractConfig, Limits
from unmask.pipeline.extraction import probe as probing
from unmask.pipeline.machine import worker_pool
from unmask.pipeline.machine.isolation import Crash, in_order
from unmask.pipeline.sources import audit

CONFIG = ExtractConfig(jobs=2, limits=Limits(seconds=1.5))


@pytest.fixture(autouse=True)
def fresh_workers() -> Iterator[None]:
    yield
    worker_pool.stop_workers()


def test_each_way_to_die_costs_the_item_itself_only() -> None:
    ways = {4: "abort", 5: "hang", 11: "kill"}

    def task(
        item: int,
    ) -> int:  # a closure travels by value, so the workers need not import this test
        how = ways.get(item)
        if how == "abort":
            os.abort()
        if how == "hang":
            time.sleep(60)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    answers = list(in_order(task, iter(range(14)), CONFIG))
    reasons = {k: answer.reason for k, answer in enumerate(answers) if isinstance(answer, Crash)}
    assert reasons == {4: "decoder_crash", 5: "timeout", 11: "out_of_memory"}
    assert [answer for answer in answers if not isinstance(answer, Crash)] == [
        k * k for k in range(14) if k not in ways
    ]


def test_nothing_to_do_starts_nothing() -> None:
    assert list(in_order(abs, [], CONFIG)) == []


def test_a_fault_of_the_task_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, [1, 0], CONFIG))


def test_probing_a_dataset_survives_a_decoder_that_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "real/a.mp4", "real/b.mp4", "fake/c.mp4", data=b"hello")
    dataset, honest = find("folder", tmp_path), probing._probe

    def probe(video):
        if video.key == "real/a.mp4":
            os.abort()
        return honest(video)

    monkeypatch.setattr(probing, "_probe", probe)
    report = audit.audit(dataset)
    probing.probe(dataset, report, jobs=2)
    assert {p.key: p.reason for p in report.probes} == {
        "fake/c.mp4": "not_a_video", "real/a.mp4": "decoder_crash", "real/b.mp4": "not_a_video"
    }  # fmt: skip
    assert report.faults == ["videos that cannot be used: 3 (not_a_video 2, decoder_crash 1)"]
