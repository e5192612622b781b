"""Run as a GPU worker would, in a process of its own: `python -m tests.support.beside_videos ROOT
TOGETHER ALONE`.

Three videos at a time in batches of one shape, then each alone; prints how all ended and the sizes
of the batches.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.extraction import crops, one_video
from unmask.pipeline.faces import cascade, shared_detector
from unmask.pipeline.faces.detector import BATCH
from unmask.pipeline.machine import worker_pool
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

CONFIG = ExtractConfig(crop=CropConfig(clips=6, frames=2, size=64))


def main() -> None:
    """What test_shared_detector.py compares."""
    root, together, alone = (Path(argument) for argument in sys.argv[1:])
    worker_pool.settle()
    crops.BESIDE["cpu"], BATCH["cpu"], cascade.CPU_CHUNK, shared_detector.PATIENCE = 3, 8, 32, 2.0
    found = list(discover("ffpp", root, SourceOptions()).videos[:5])
    found.insert(2, Video("ffpp", "broken", "broken", Path(__file__), 0))
    shared = crops.detector_for(CONFIG.crop)
    inner, batches = shared.detector.detect_many, []
    shared.detector.detect_many = lambda pictures: batches.append(len(pictures)) or inner(pictures)
    ended = [
        outcome
        for k in (0, 3)
        for outcome in one_video.extract_beside(found[k : k + 3], CONFIG, together)
    ]
    shared_batches = list(batches)
    one_by_one = [one_video.extract_video(one, CONFIG, alone) for one in found]
    print(
        json.dumps({"together": told(ended), "alone": told(one_by_one), "batches": shared_batches})
    )


def told(outcomes: list[Outcome]) -> list[list[str]]:
    return [[outcome.video_id, outcome.status, outcome.reason] for outcome in outcomes]


if __name__ == "__main__":
    main()
