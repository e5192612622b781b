"""The road over a few videos in quick forks, with something going wrong at its N-th file-system
event.

The libraries are loaded and the faces found once, in the parent; a fork then only writes, so one
try costs a fraction of a second. An audit hook counts the events under the work folder, which
reaches every point without root and without any hook in our own code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.pipeline.extraction.test_run import tree_hash
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.extraction import dispatch, one_video, publish, run
from unmask.pipeline.records import Outcome
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

CONFIG = ExtractConfig(crop=CropConfig(clips=2, frames=2, size=48))
WRITES = {"os.mkdir", "os.rename", "os.truncate"}
EVENTS = WRITES | {"open", "os.remove", "os.rmdir", "shutil.rmtree", "fcntl.flock"}

# What goes wrong, given (number of the event, its name, its arguments).
Fault = Callable[[int, str, tuple], None]

# What is done with a dataset in a work folder: work/cache and work/manifests.
Road = Callable[[Dataset, Path], None]


def in_this_process(videos, config, parent) -> Iterator[Outcome]:
    """The tasks one after the other, so that every event happens in one process and in one
    order.
    """
    for one in videos:
        yield one_video.extract_video(one, config, parent)


def prepare(root: Path, count: int) -> Dataset:
    """The first videos of the drawn dataset, with their crops known from now on."""
    found = discover("ffpp", root, SourceOptions(methods=("Deepfakes", "NeuralTextures")))
    dataset = Dataset("ffpp", found.root, found.videos[:count])
    crops = {one.path: one_video.read_crops(one.path, CONFIG) for one in dataset.videos}
    one_video.read_crops = lambda path, *_, **__: crops[path]
    dispatch.dispatch = in_this_process
    return dataset


def walk(dataset: Dataset, work: Path, config: ExtractConfig = CONFIG) -> None:
    """Extract and write manifests: work/cache and work/manifests."""
    ended = run.extract(dataset.videos, config, work / "cache")
    publish.publish(dataset, ended, config, work / "cache", work / "manifests")


def start(task: Callable[[], None]) -> tuple[int, int]:
    """Run a task in a fork: (pid, descriptor of what it said if it failed)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        task()
        os._exit(0)
    except BaseException as error:
        os.write(writer, f"{type(error).__name__}: {error}".encode(errors="replace")[:4000])
        os._exit(1)


def ended(pid: int, reader: int) -> tuple[int, str]:
    """Wait for a fork: (wait status, what it said)."""
    status = os.waitpid(pid, 0)[1]
    with os.fdopen(reader, "rb") as pipe:
        return status, pipe.read().decode()


def child(
    dataset: Dataset, work: Path, fault: Fault | None = None, road: Road = walk
) -> tuple[int, str]:
    """A road in a fork under a fault: its wait status, and its error or the number of its
    events.
    """
    place = str(work)

    def task() -> None:
        seen = 0

        def count(event: str, args: tuple) -> None:
            nonlocal seen
            if event in EVENTS and (event == "fcntl.flock" or place in os.fsdecode(str(args[0]))):
                seen += 1
                if fault:
                    fault(seen, event, args)

        sys.addaudithook(count)
        road(dataset, work)
        raise SystemExit(seen)

    status, told = ended(*start(task))
    return (
        (0, told.removeprefix("SystemExit: "))
        if told.startswith("SystemExit: ")
        else (status, told)
    )


def hashes(work: Path) -> dict[str, str]:
    """sha256 of every file of a work folder by its relative name."""
    return {name.removeprefix(str(work)): digest for name, digest in tree_hash(work).items()}


def groups(work: Path) -> dict[str, int]:
    """Visible video folders with the time of their last change."""
    parent = run.cache_folder(work / "cache", "ffpp", CONFIG.crop)
    if not parent.exists():
        return {}
    return {
        p.name: p.stat().st_mtime_ns
        for p in parent.iterdir()
        if p.is_dir() and not p.name.startswith(".")
    }


def leftovers(work: Path) -> list[Path]:
    """Temporaries of ours or of zarr."""
    return [*work.rglob(".tmp*"), *work.rglob("*.partial")]
