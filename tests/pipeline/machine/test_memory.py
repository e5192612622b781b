"""Whichever library runs out of memory, it is called that, and never the file's fault."""

from __future__ import annotations

import errno
import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from unmask.pipeline.config import ExtractConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.errors import UsageError, VideoError
from unmask.pipeline.machine.isolation import Crash, in_order
from unmask.pipeline.machine.memory import is_memory_error, near_limit
from unmask.pipeline.machine.worker_pool import stop_workers, worker_pool

HUGE = 1 << 46  # bytes; no machine maps so much


def refused_by_numpy() -> None:
    np.empty(HUGE, np.uint8)


def refused_by_torch() -> None:
    torch.empty(HUGE, dtype=torch.uint8)


def refused_by_ffmpeg() -> None:
    raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")


def refused_by_opencv() -> None:
    cv2.copyMakeBorder(np.zeros((4, 4), np.float64), 0, 30_000_000, 0, 2000, cv2.BORDER_CONSTANT)


def refused_by_the_system() -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    "refused", [refused_by_numpy, refused_by_torch, refused_by_ffmpeg, refused_by_the_system]
)
def test_the_refusal_of_each_library_is_known(refused: Callable[[], None]) -> None:
    with pytest.raises(Exception) as caught:
        refused()
    assert is_memory_error(caught.value)


def test_opencv_s_refusal_is_known() -> None:
    with limited(64), pytest.raises(cv2.error) as caught:
        refused_by_opencv()
    assert is_memory_error(caught.value)


def test_onednn_that_says_no_more_than_that_it_could_not_means_the_limit_if_there_is_one() -> None:
    """Its refusal under `--memory-limit`, as torch 2.15 passed it on."""
    refused = RuntimeError("could not create a primitive")
    with limited(64):
        assert is_memory_error(refused)
        assert not is_memory_error(RuntimeError("could not create a primitive descriptor for ..."))
    assert not is_memory_error(refused)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory"), OSError(errno.ENOENT)]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_memory_error(error)


class limited:
    """This process may map so many more MiB than now, for a while."""

    def __init__(self, mib: int) -> None:
        self.mib = mib

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (self.mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self.before)


def test_a_limit_is_near_only_where_there_is_one() -> None:
    assert not near_limit()
    with limited(32):
        assert near_limit()


def decode_within(path: Path, mib: int) -> str:
    """The reason with which a video ends in a process that may take so much more."""
    info = scan(path, Limits())
    with limited(mib):
        try:
            for clip in decode_clips(path, info, np.arange(info.frames)[None]):
                assert len(clip.pixels)
        except VideoError as error:
            return error.reason
        except MemoryError:
            return "MemoryError"
    return "ok"


@pytest.mark.parametrize("mib", [8, 24, 60, 100])
def test_a_good_video_without_memory_is_never_called_damaged(mib: int, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 3200, 3200, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(3200, 3200, "yuv420p")))
        container.mux(stream.encode(None))
    # In a process of its own: the allocator of this one has memory left over from other tests.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(decode_within, (path, mib)) in ("out_of_memory", "MemoryError", "ok")


def fill_memory(number: int) -> int:
    return number if number else torch.empty(HUGE, dtype=torch.uint8).numel()


def test_a_task_without_memory_costs_only_itself() -> None:
    found = list(in_order(fill_memory, [1, 0, 2], ExtractConfig(jobs=1)))
    assert found[::2] == [1, 2]
    assert isinstance(found[1], Crash) and found[1].reason == "out_of_memory"


@pytest.mark.parametrize("mib", [300, 1200])
def test_a_limit_below_the_libraries_is_refused_in_one_line(mib: int) -> None:
    config = ExtractConfig(jobs=1)
    try:
        with pytest.raises(UsageError, match=f"--memory-limit {mib}: the libraries alone need"):
            worker_pool(1, replace(config, limits=Limits(memory_mib=mib)))
    finally:
        stop_workers()
