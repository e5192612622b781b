"""A worker that crashes, is killed, exits or hangs costs exactly its own video; the run ends and
names it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults import hostile
from unmask.commands import main as cli
from unmask.pipeline.config import CropConfig, ExtractConfig, Limits
from unmask.pipeline.errors import DiskError, PipelineError
from unmask.pipeline.extraction import crops
from unmask.pipeline.extraction import dispatch as dispatching
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.machine import worker_pool
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

CONFIG = ExtractConfig(jobs=2, limits=Limits(seconds=2.0))


@pytest.fixture(autouse=True)
def fresh_workers() -> Iterator[None]:
    """Hostile workers must not serve another test."""
    yield
    worker_pool.stop_workers()


def videos(count: int) -> list[Video]:
    return [Video("d", f"v{k}", f"v{k}", Path(f"/no/v{k}.mp4"), 0) for k in range(count)]


def dispatch(
    tmp_path: Path, plan: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    (tmp_path / hostile.PLAN).write_text("".join(f"{name} {how}\n" for name, how in plan.items()))
    monkeypatch.setattr(dispatching, "_task", hostile.hostile_task)
    outcomes = list(dispatching.dispatch(videos(count), CONFIG, tmp_path))
    assert sorted(o.video_id for o in outcomes) == sorted(f"v{k}" for k in range(count)), (
        "one outcome per video"
    )
    assert not [p for p in tmp_path.iterdir() if "started" in p.name], "notes are swept away"
    return {o.video_id: o.reason for o in outcomes if o.status != "ok"}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("segfault", "decoder_crash"),
        ("kill", "out_of_memory"),
        pytest.param("exit", "decoder_crash", marks=pytest.mark.slow),
        ("hang", "timeout"),
        pytest.param("memory", "out_of_memory", marks=pytest.mark.slow),
        ("bug", "internal_error"),
    ],
)
def test_one_bad_video_of_eight(
    how: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dispatch(tmp_path, {"v3": how}, 8, monkeypatch) == {"v3": reason}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        pytest.param("segfault", "decoder_crash", marks=pytest.mark.slow),
        pytest.param("kill", "out_of_memory", marks=pytest.mark.slow),
        ("hang", "timeout"),
        pytest.param("memory", "out_of_memory", marks=pytest.mark.slow),
        pytest.param("bug", "internal_error", marks=pytest.mark.slow),
    ],
)
def test_one_bad_video_of_eight_that_share_processes_as_on_a_gpu(
    how: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(crops.BESIDE, "cpu", 4)
    monkeypatch.setattr(
        sys.modules[__name__], "CONFIG", ExtractConfig(jobs=8, limits=Limits(seconds=1.0))
    )
    assert dispatch(tmp_path, {"v3": how}, 8, monkeypatch) == {"v3": reason}


def test_what_was_finished_before_its_process_died_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finished(video: Video, parent: Path, config: ExtractConfig) -> Outcome | None:
        return Outcome("v1", "ok", flags=("finished",)) if video.video_id == "v1" else None

    monkeypatch.setitem(crops.BESIDE, "cpu", 4)
    monkeypatch.setattr(dispatching, "finished", finished)
    monkeypatch.setattr(dispatching, "_task", hostile.hostile_task)
    for how in ("kill", "bug"):
        (tmp_path / hostile.PLAN).write_text(f"v3 {how}\n")
        ended = list(dispatching.dispatch(videos(4), ExtractConfig(jobs=4), tmp_path))
        assert [o.flags for o in sorted(ended, key=lambda o: o.video_id)] == [
            (),
            ("finished",),
            (),
            (),
        ]
        assert [o.video_id for o in ended if o.status != "ok"] == ["v3"]


@pytest.mark.parametrize(
    ("jobs", "count", "tasks", "processes"),
    [
        (16, 40, [4] * 10, 4),
        (2, 5, [2, 2, 1], 1),
        (5, 8, [2] * 4, 2),
        (6, 7, [3, 3, 1], 2),
        (8, 5, [2, 2, 1], 2),
        (8, 1, [1], 1),
    ],
)
def test_jobs_count_videos_and_a_gpu_gets_them_in_few_processes(
    jobs: int, count: int, tasks: list[int], processes: int
) -> None:
    config = ExtractConfig(jobs=jobs, crop=CropConfig(device="cuda"))
    waiting, workers_of_them = dispatching._shared_out(videos(count), config)
    assert [len(task) for task in waiting] == tasks and workers_of_them == processes
    assert [video for task in waiting for video in task] == videos(count)
    assert dispatching._shared_out(videos(count), ExtractConfig(jobs=jobs)) == (
        deque([video] for video in videos(count)),
        min(jobs, count),
    )


@pytest.mark.slow
def test_three_bad_videos_of_eight_in_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"v0": "segfault", "v4": "exit", "v7": "kill"}
    expected = {"v0": "decoder_crash", "v4": "decoder_crash", "v7": "out_of_memory"}
    assert dispatch(tmp_path, plan, 8, monkeypatch) == expected


def test_when_every_video_crashes_the_run_still_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dispatch(tmp_path, {f"v{k}": "segfault" for k in range(4)}, 4, monkeypatch)
    assert found == {f"v{k}": "decoder_crash" for k in range(4)}


def test_workers_that_cannot_even_start_end_the_run_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "_start_worker", hostile.die_at_start)
    with pytest.raises(PipelineError, match="before they could begin a video"):
        dispatch(tmp_path, {}, 3, monkeypatch)
    assert not [p for p in tmp_path.iterdir() if "started" in p.name]


def test_a_full_disk_in_a_worker_ends_the_run_and_all_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DiskError, match=r"1\.0 MiB needed, 0\.0 MiB free"):
        dispatch(tmp_path, {"v2": "full"}, 8, monkeypatch)
    left = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert len([words for words in left if "forkserver" in words]) == 1, "the server, no worker"
    assert not [p for p in tmp_path.iterdir() if "started" in p.name]


def test_a_fault_of_ours_in_one_video_ends_the_command_with_exit_1_after_the_others(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = CropConfig(clips=2, frames=2, size=48)
    found = discover("ffpp", drawn, SourceOptions()).videos[:4]
    parent = extraction.cache_folder(tmp_path, "ffpp", crop)
    parent.mkdir(parents=True)
    (parent / hostile.PLAN).write_text(f"{found[1].video_id} bug\n")
    monkeypatch.setattr(dispatching, "_task", hostile.hostile_task)
    words = ["--clips", "2", "--frames", "2", "--size", "48", "--limit", "4", "--jobs", "2"]
    places = ["--root", str(drawn), "--cache", str(tmp_path), "--manifests", str(tmp_path / "m")]
    assert cli.main(["extract", "--dataset", "ffpp", *words, *places]) == 1
    said = capsys.readouterr().out
    assert (
        "3 ok, 1 failed (internal_error 1)" in said and "ZeroDivisionError: a fault of ours" in said
    )
