"""A Dask cluster of one scheduler and two worker processes gives what one machine gives, deaths
included.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.errors import ClusterError, UsageError
from unmask.pipeline.extraction import dask as on_cluster
from unmask.pipeline.extraction import run
from unmask.pipeline.machine import worker_pool
from unmask.pipeline.records import Outcome
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).parents[3]
CONFIG = ExtractConfig(crop=CropConfig(clips=4, frames=3, size=96), jobs=2)


def start(module: str, *arguments: str) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
    }
    command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """Address and process of a scheduler without workers."""
    file = tmp_path / "alone.json"
    process = start(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    )
    try:
        deadline = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler, and its two worker processes: one bare, one under a nanny as `dask
    worker` has it.
    """
    told = tmp_path / "scheduler.json"
    started = [
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(told))
    ]
    try:
        deadline = time.monotonic() + 60
        while not told.exists() or not told.read_text().strip():
            assert time.monotonic() < deadline and started[0].poll() is None
            time.sleep(0.1)
        address = json.loads(told.read_text())["address"]
        common = (
            "--nthreads",
            "1",
            "--host",
            "127.0.0.1",
            "--local-directory",
            str(tmp_path),
            "--memory-limit",
            "0",
        )
        started += [
            start("dask_worker", address, kind, *common) for kind in ("--no-nanny", "--nanny")
        ]
        with distributed.Client(address, timeout="30s") as client:
            client.wait_for_workers(2, timeout=90)
        yield address, started[1:]
    finally:
        for process in started:
            for child in (
                psutil.Process(process.pid).children(recursive=True)
                if process.poll() is None
                else []
            ):
                child.kill()
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dataset(drawn: Path) -> Dataset:
    return discover("ffpp", drawn, SourceOptions(methods=("Deepfakes", "NeuralTextures")))


def contents(cache: Path) -> dict[str, str]:
    files = (path for path in sorted(cache.rglob("*")) if path.is_file() and path.name != ".lock")
    return {
        str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_a_worker_killed_midway_loses_nothing_and_repeats_nothing(
    cluster: tuple[str, list[subprocess.Popen]], dataset: Dataset, tmp_path: Path
) -> None:
    address, (bare, _) = cluster
    ended: list[Outcome] = []
    committed: dict[str, int] = {}
    cache = run.cache_folder(tmp_path / "many", "ffpp", CONFIG.crop)

    def progress(outcome: Outcome) -> None:
        ended.append(outcome)
        if len(ended) == 4:
            os.kill(bare.pid, signal.SIGKILL)
            committed.update(
                {
                    path.name: path.stat().st_ino
                    for path in cache.glob("[!.]*")  # without those that are being written
                    if (path / "zarr.json").exists()
                }
            )

    outcomes = run.extract(
        dataset.videos, replace(CONFIG, scheduler=address), tmp_path / "many", progress
    )
    assert bare.wait(timeout=5) == -signal.SIGKILL, "one worker did die on the way"
    assert 4 <= len(committed) < len(dataset.videos)
    assert sorted(o.video_id for o in ended) == sorted(v.video_id for v in dataset.videos), (
        "each ends once"
    )
    assert [o.video_id for o in outcomes] == [v.video_id for v in dataset.videos]
    assert {o.status for o in outcomes} == {"ok"}
    for name, inode in committed.items():
        assert (cache / name).stat().st_ino == inode, (
            "what was committed before the death is not made again"
        )
    try:
        alone = run.extract(dataset.videos, CONFIG, tmp_path / "one")
    finally:
        worker_pool.stop_workers()
    assert alone == outcomes
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_no_scheduler_is_a_usage_error(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cluster, "SCHEDULER_SECONDS", 1)
    config = replace(CONFIG, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        run.extract(dataset.videos[:1], config, tmp_path)


def test_a_cluster_without_workers_is_waited_for_and_then_told_in_one_line(
    dataset: Dataset, tmp_path: Path, scheduler: tuple[str, subprocess.Popen], monkeypatch
) -> None:
    monkeypatch.setattr(on_cluster, "WORKER_SECONDS", 1.5)
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"no Dask worker for 1\.5 s.*goes on where it stopped"):
        run.extract(dataset.videos[:2], replace(CONFIG, scheduler=scheduler[0]), tmp_path)
    assert 1.5 <= time.monotonic() - started < 60 and ClusterError.exit_code == 4


def test_a_scheduler_that_dies_ends_the_run_and_the_next_one_goes_on(
    dataset: Dataset, tmp_path: Path, scheduler: tuple[str, subprocess.Popen], monkeypatch
) -> None:
    """It waits for a worker when its scheduler is killed."""
    monkeypatch.setattr(on_cluster, "WORKER_SECONDS", 60.0)
    monkeypatch.setattr(on_cluster.log, "warning", lambda *_: scheduler[1].kill())
    with pytest.raises(ClusterError, match="scheduler is gone"):
        run.extract(dataset.videos[:1], replace(CONFIG, scheduler=scheduler[0]), tmp_path)
    try:
        (outcome,) = run.extract(dataset.videos[:1], CONFIG, tmp_path)
    finally:
        worker_pool.stop_workers()
    assert outcome.status == "ok"
