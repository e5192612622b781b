"""The crops of one video file, for extraction and prediction alike: scan, decode, find faces,
cut.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.config import CropConfig, ExtractConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.windows import count_from, frame_numbers, plan_clips
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction.pairs import Places
from unmask.pipeline.faces.detector import Detector, build_detector
from unmask.pipeline.faces.find import find_crops
from unmask.pipeline.faces.shared_detector import SharedDetector
from unmask.pipeline.machine.memory import is_memory_error, near_limit
from unmask.pipeline.records import Crops, VideoInfo

# Videos that one process works on at a time. Those beside each other share the detector's batches,
# and its context on a GPU, which costs half a gigabyte there for every process.
BESIDE = {"cpu": 1, "cuda": 4}


def read_crops(
    path: Path,
    config: ExtractConfig,
    places: Places | None = None,
    first: int = 0,
    everyone: bool = False,
) -> tuple[VideoInfo, list[Crops]]:
    """Decode the clips of one video and cut its people out; planned where it is exact, else frame
    by frame.

    places: of one person of the original, where and when a fake is cut.
    first: as Video.first_frame.
    everyone: as of find_crops.
    Raises: VideoError; OtherViewError when the video does not show at `places` what its original
        shows there.
    """
    crop = config.crop

    def read(scanned: VideoInfo) -> tuple[VideoInfo, list[Crops]]:
        info = count_from(scanned, first)
        if places is None:
            windows, there, boxes = plan_clips(info, crop.clips, crop.frames), None, None
        else:
            windows, there = places.find(info)
            boxes = places.boxes(info, there)
        clips = decode_clips(path, info, windows)
        people = find_crops(clips, detector_for(crop), crop, boxes, everyone)
        people = [replace(crops, index=frame_numbers(info, crops.index)) for crops in people]
        if places is not None:
            for crops in people:
                places.compare(crops, there)
            people = [places.named(crops, there) for crops in people]
        return info, people

    return with_fallback(path, config.limits, read)


def refusal_of(error: Exception, limits: Limits) -> tuple[str, str] | None:
    """Reason and detail of what went wrong with one video; None for a fault of ours.

    What a library calls damage counts as a lack of memory near the limit.
    """
    if isinstance(error, VideoError):
        if error.reason in ("corrupt", "truncated", "unsupported_codec") and near_limit():
            near = f"the memory limit was all but reached; it showed as: {error}"
            return "out_of_memory", near
        return error.reason, error.detail
    if is_memory_error(error):
        told = str(error).partition("\n")[0][:200]
        return "out_of_memory", told or f"limit {limits.memory_mib} MiB"
    return None


@functools.lru_cache(maxsize=2)
def detector_for(config: CropConfig) -> Detector:
    """The detector of these settings, built once per process: a worker keeps it for all its
    videos.
    """
    detector = build_detector(config)
    return SharedDetector(detector) if BESIDE[config.device] > 1 else detector
