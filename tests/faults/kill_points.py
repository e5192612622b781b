"""Kill an extraction of three videos at every file-system event it makes, and look at what is left.

A program of its own, because it forks: the libraries are loaded and the faces found once, then every kill point costs
two quick children. An audit hook counts the events under the work folder and sends SIGKILL at the N-th, which reaches
every point without root and without any hook in our own code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from pipeline import extract, video, workers
from pipeline.cache import verify_video
from pipeline.config import CropConfig, ExtractConfig
from pipeline.sources import Dataset, SourceOptions, discover
from tests.pipeline.test_extract import tree_hash

CONFIG = ExtractConfig(crop=CropConfig(clips=2, frames=2, size=48))
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "fcntl.flock"}


def in_this_process(videos, config, parent):
    """The tasks one after the other, so that every event happens in one process and in one order."""
    for one in videos:
        yield video.extract_video(one, config, parent)


def walk(dataset: Dataset, work: Path) -> None:
    ended = extract.run(dataset.videos, CONFIG, work / "cache")
    extract.publish(dataset, ended, CONFIG, work / "cache", work / "manifests")


def child(dataset: Dataset, work: Path, kill_at: int = 0) -> tuple[int, int]:
    """Run in a fork; returns its exit status and how many events it made. kill_at: 0 for never."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        told = os.read(reader, 64)
        os.close(reader)
        return os.waitpid(pid, 0)[1], int(told or 0)
    seen = 0
    place = str(work)

    def count(event: str, args: tuple) -> None:
        nonlocal seen
        if event in EVENTS and (event == "fcntl.flock" or place in os.fsdecode(str(args[0]))):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        walk(dataset, work)
        os.write(writer, str(seen).encode())
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)


def groups(work: Path) -> dict[str, int]:
    """Visible video folders with the time of their last change."""
    parent = extract.cache_folder(work / "cache", "ffpp", CONFIG.crop)
    if not parent.exists():
        return {}
    return {p.name: p.stat().st_mtime_ns for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")}


def main(root: str, place: str, stride: str, random_kills: str) -> None:
    found = discover("ffpp", Path(root), SourceOptions(methods=("Deepfakes", "NeuralTextures")))
    dataset = Dataset("ffpp", found.root, found.videos[:3])
    crops = {one.path: video.read_crops(one.path, CONFIG) for one in dataset.videos}
    video.read_crops = lambda path, config, boxes: crops[path]
    workers.dispatch = in_this_process
    reference = Path(place) / "reference"
    status, events = child(dataset, reference)
    assert status == 0, "the uninterrupted run failed"
    truth = {k.removeprefix(str(reference)): v for k, v in tree_hash(reference).items()}
    result = {"events": events, "points": 0, "torn": 0, "lost": 0, "leftovers": 0, "different": 0}

    def judge(work: Path) -> None:
        before = groups(work)
        parent = extract.cache_folder(work / "cache", "ffpp", CONFIG.crop)
        result["points"] += 1
        result["torn"] += sum(bool(verify_video(parent / name)) for name in before)
        assert child(dataset, work)[0] == 0, "the run after a kill failed"
        after = groups(work)
        result["lost"] += sum(after.get(name) != changed for name, changed in before.items())
        result["leftovers"] += len(list(work.rglob(".tmp*"))) + len(list(work.rglob("*.partial")))
        result["different"] += {k.removeprefix(str(work)): v for k, v in tree_hash(work).items()} != truth

    for kill_at in range(1, events + 1, int(stride)):
        work = Path(place) / f"at{kill_at}"
        status, _ = child(dataset, work, kill_at)
        assert os.WIFSIGNALED(status), f"event {kill_at} of {events} was not reached"
        judge(work)
    rng, took = random.Random(1), time.monotonic()
    child(dataset, Path(place) / "timed")
    took = time.monotonic() - took
    for number in range(int(random_kills)):
        work = Path(place) / f"random{number}"
        pid = os.fork()
        if not pid:
            walk(dataset, work)
            os._exit(0)
        time.sleep(rng.uniform(0, took))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        judge(work)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
