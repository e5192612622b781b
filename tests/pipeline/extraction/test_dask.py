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
from unmask.pipeline.errors import UsageError
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
                    for path in cache.iterdir()
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
