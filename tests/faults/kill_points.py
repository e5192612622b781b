"""Kill an extraction of three videos at every file-system event it makes, and look at what is
left; and the same for an extraction that replaces videos, damaged or described otherwise.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.faults.forks import CONFIG, child, groups, hashes, leftovers, prepare, start, walk
from unmask.commands import main as cli
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.disk import folders
from unmask.pipeline.extraction import run
from unmask.pipeline.sources.dataset import Dataset


def main(root: str, place: str, stride: str, random_kills: str) -> None:
    dataset = prepare(Path(root), 3)
    reference = Path(place) / "reference"
    status, events = child(dataset, reference)
    assert status == 0, f"the uninterrupted run failed: {events}"
    truth = hashes(reference)
    result = {
        "events": int(events),
        "points": 0,
        "torn": 0,
        "lost": 0,
        "leftovers": 0,
        "different": 0,
    }

    def judge(work: Path) -> None:
        before = groups(work)
        parent = run.cache_folder(work / "cache", "ffpp", CONFIG.crop)
        result["points"] += 1
        result["torn"] += sum(bool(verify_video(parent / name)) for name in before)
        again, told = child(dataset, work)
        assert again == 0, f"the run after a kill failed: {told}"
        after = groups(work)
        result["lost"] += sum(after.get(name) != changed for name, changed in before.items())
        result["leftovers"] += len(leftovers(work))
        result["different"] += hashes(work) != truth
        shutil.rmtree(work)

    for kill_at in range(1, int(events) + 1, int(stride)):
        work = Path(place) / f"at{kill_at}"
        status, _ = child(
            dataset,
            work,
            lambda n, *_, at=kill_at: n == at and os.kill(os.getpid(), signal.SIGKILL),
        )
        assert os.WIFSIGNALED(status), f"event {kill_at} of {events} was not reached"
        judge(work)
    rng, took = random.Random(1), time.monotonic()
    child(dataset, Path(place) / "timed")
    took = time.monotonic() - took
    for number in range(int(random_kills)):
        work = Path(place) / f"random{number}"
        pid, reader = start(lambda work=work: walk(dataset, work))
        time.sleep(rng.uniform(0, took))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        judge(work)
    sys.stdout.write(json.dumps(result) + "\n")


def verify(work: Path, *words: str) -> tuple[int, str]:
    """The command on a cache, in this process: its exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(["verify", "--cache", str(work / "cache"), "--jobs", "1", *words])
    return code, said.getvalue()


def mend(dataset: Dataset, work: Path) -> None:
    """As a road: `verify --repair`."""
    code, said = verify(work, "--repair")
    if code:
        raise RuntimeError(said)


def told_in_full(work: Path, whole: int) -> bool:
    """Whether `verify` counts both videos, so many as whole, and ends with 4 unless all are."""
    code, said = verify(work)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (whole|damaged|missing)", said)}
    right = sum(counts.values()) == 2 and counts["whole"] == whole
    return right and code == (0 if whole == 2 else 4)


def replacing(root: str, place: str, stride: str, how: str) -> None:
    """how: labels (the lists say something else now), repair (`verify --repair` of one video with a
    damaged file and one that is lost), no-swap (labels, on a file system that cannot exchange two
    names).
    """
    dataset = prepare(Path(root), 2)
    road = mend if how == "repair" else walk
    if how == "no-swap":
        folders.exchange = lambda first, second: False
    old, changed = Path(place) / "old", dataset
    status, told = child(dataset, old)
    assert status == 0, told
    parent = run.cache_folder(old / "cache", "ffpp", CONFIG.crop)
    truth = hashes(old)
    if how == "repair":
        damaged, lost = (parent / video.video_id for video in dataset.videos)
        (damaged / "crops" / "zarr.json").write_bytes(b"{}")
        shutil.rmtree(lost)
    else:
        videos = tuple(replace(video, method="other") for video in dataset.videos)
        changed = replace(dataset, videos=videos)
        status, told = child(changed, Path(place) / "new")
        assert status == 0, told
        truth = hashes(Path(place) / "new")
    names = {video.video_id for video in dataset.videos}
    result = {"points": 0, "gone": 0, "torn": 0, "leftovers": 0, "different": 0}
    result |= {"silent": 0} if how == "repair" else {}
    kill_at, killed = 1, True
    while killed:
        work = Path(place) / f"{how}{kill_at}"
        shutil.copytree(old, work)
        status, _ = child(
            changed,
            work,
            lambda n, *_, at=kill_at: n == at and os.kill(os.getpid(), signal.SIGKILL),
            road,
        )
        killed = os.WIFSIGNALED(status)
        here = run.cache_folder(work / "cache", "ffpp", CONFIG.crop)
        folders.restore_replaced(here)
        result["points"] += killed
        torn = {name for name in groups(work) if verify_video(here / name)}
        if how == "repair":
            result["gone"] += damaged.name not in groups(work)
            result["torn"] += not torn <= {damaged.name}
            result["silent"] += not told_in_full(work, len(groups(work)) - len(torn))
        else:
            result["gone"] += not names <= set(groups(work))
            result["torn"] += len(torn)
        again, told = child(changed, work, road=road)
        assert again == 0, f"the run after a kill failed: {told}"
        result["leftovers"] += len(leftovers(work)) + len([*work.rglob(".was-*")])
        result["different"] += hashes(work) != truth
        shutil.rmtree(work)
        kill_at += int(stride)
    sys.stdout.write(json.dumps({"events": kill_at, **result}) + "\n")


if __name__ == "__main__":
    (main if sys.argv[4].isdigit() else replacing)(*sys.argv[1:])
