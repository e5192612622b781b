"""Let the file system refuse from the N-th write of an extraction on, and look at how it stops and
goes on.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
from pathlib import Path

from tests.faults.forks import CONFIG, WRITES, child, groups, hashes, leftovers, prepare
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.extraction import run

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
SIZES = (0, 100, 1_000, 4_000, 16_000)  # bytes that a file may have, beside errors at every event


def is_write(event: str, args: tuple) -> bool:
    if event == "open":
        return bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in WRITES


def main(root: str, place: str, stride: str) -> None:
    dataset = prepare(Path(root), 3)
    reference = Path(place) / "reference"
    status, events = child(dataset, reference)
    assert status == 0, f"the run on a good disk failed: {events}"
    truth = hashes(reference)
    result = {"tries": 0, "stopped": 0, "unclear": 0, "torn": 0, "leftovers": 0, "different": 0}

    def judge(work: Path, status: int, told: str) -> None:
        result["tries"] += 1
        result["stopped"] += status != 0
        clear = told.startswith(("DiskError: ", "CacheError: ")) and (
            "MiB free" in told or "cannot be" in told
        )
        result["unclear"] += status != 0 and not clear
        if status != 0 and not clear:
            sys.stderr.write(told + "\n")
        parent = run.cache_folder(work / "cache", "ffpp", CONFIG.crop)
        result["torn"] += sum(bool(verify_video(parent / name)) for name in groups(work))
        again, told = child(dataset, work)
        assert again == 0, f"the run after a full disk failed: {told}"
        result["leftovers"] += len(leftovers(work))
        result["different"] += hashes(work) != truth
        shutil.rmtree(work)

    for number, refuse_at in enumerate(range(1, int(events) + 1, int(stride))):
        work, code = Path(place) / f"at{refuse_at}", CODES[number % len(CODES)]
        work.mkdir()

        def full(n: int, event: str, args: tuple, at: int = refuse_at, code: int = code) -> None:
            if n >= at and is_write(event, args):
                raise OSError(code, os.strerror(code))

        judge(work, *child(dataset, work, full))
    for size in SIZES:
        work = Path(place) / f"size{size}"
        work.mkdir()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            status, told = child(dataset, work)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        judge(work, status, told)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
