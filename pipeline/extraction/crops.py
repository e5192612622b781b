"""The crops of one video file, for extraction and prediction alike: scan, decode, find faces,
cut.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.records import Crops, VideoInfo

if TYPE_CHECKING:
    from unmask.pipeline.extraction.pairs import Places
    from unmask.pipeline.faces.detector import Detector


# Videos that one process works on at a time. Those beside each other share the detector's batches,
# and its context on a GPU, which costs half a gigabyte there for every process.
BESIDE = {"cpu": 1, "cuda": 4}


def read_crops(
    path: Path, config: ExtractConfig, places: Places | None = None, first: int = 0
) -> tuple[VideoInfo, list[Crops]]:
    """Decode the clips of one video and cut its people out; planned where it is exact, else frame
    by frame.

    places: of one person of the original, where and when a fake is cut.
    first: as Video.first_frame.
    Raises: VideoError.
    """
    from unmask.pipeline.decode.clips import decode_clips
    from unmask.pipeline.decode.retry import with_fallback
    from unmask.pipeline.decode.windows import count_from, frame_numbers, plan_clips
    from unmask.pipeline.faces.find import find_crops

    crop = config.crop

    def read(scanned: VideoInfo) -> tuple[VideoInfo, list[Crops]]:
        info = count_from(scanned, first)
        if places is None:
            windows, there, boxes = plan_clips(info, crop.clips, crop.frames), None, None
        else:
            windows, there = places.find(info)
            boxes = places.boxes(there)
        people = find_crops(decode_clips(path, info, windows), detector_for(crop), crop, boxes)
        people = [replace(crops, index=frame_numbers(info, crops.index)) for crops in people]
        if places is not None:
            people = [places.named(crops, there) for crops in people]
        return info, people

    return with_fallback(path, config.limits, read)


@functools.lru_cache(maxsize=2)
def detector_for(config: CropConfig) -> Detector:
    """The detector of these settings, built once per process: a worker keeps it for all its
    videos.
    """
    from unmask.pipeline.faces.detector import build_detector
    from unmask.pipeline.faces.shared_detector import SharedDetector

    detector = build_detector(config)
    return SharedDetector(detector) if BESIDE[config.device] > 1 else detector
