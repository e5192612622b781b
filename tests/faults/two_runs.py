"""Two extractions of the same videos on one cache at the same time, again and again: one tree, no
error.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from tests.faults.forks import CONFIG, child, ended, groups, hashes, leftovers, prepare, start, walk
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.extraction.run import cache_folder


def main(root: str, place: str, count: str, repeats: str) -> None:
    dataset = prepare(Path(root), int(count))
    reference = Path(place) / "reference"
    status, told = child(dataset, reference)
    assert status == 0, f"the run alone failed: {told}"
    truth = hashes(reference)
    parent = cache_folder(reference / "cache", "ffpp", CONFIG.crop)
    assert all(not verify_video(parent / name) for name in groups(reference))
    result = {
        "videos": len(dataset.videos),
        "runs": 0,
        "errors": 0,
        "different": 0,
        "leftovers": 0,
        "told": 0,
    }
    for number in range(int(repeats)):
        for lock in (False, True):
            work = Path(place) / f"{number}-{lock}"
            pair = [
                start(lambda work=work, lock=lock: walk(dataset, work, replace(CONFIG, lock=lock)))
                for _ in "ab"
            ]
            outcomes = [ended(*one) for one in pair]
            for status, told in outcomes:
                result["runs"] += 1
                if lock and status and "another run is writing here (" in told:
                    result["told"] += 1
                elif status:
                    result["errors"] += 1
                    sys.stderr.write(f"{told}\n")
            result["different"] += hashes(work) != truth
            result["leftovers"] += len(leftovers(work))
            shutil.rmtree(work)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
