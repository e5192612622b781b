"""One video, from its file to its committed groups in the cache: the task that a worker process
runs.

Never raises for a bad video: whatever is wrong with the file becomes the Outcome's reason.
read_crops is the part that predict shares, so that a model sees in use what it saw in training.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache import refused
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction.crops import detector_for, read_crops
from unmask.pipeline.extraction.masks import cut_masks
from unmask.pipeline.extraction.resume import facts, hash_now, stat_fingerprint, why_absent
from unmask.pipeline.records import Crops, Outcome, Video, VideoInfo

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

# Nothing is wrong with these files; there is only nothing in them to keep.
SKIPPED_REASONS = frozenset({"no_face", "too_short"})


def extract_video(video: Video, config: ExtractConfig, parent: Path) -> Outcome:
    """Decode, detect, align and commit one video; whatever is wrong with the file becomes the
    Outcome's reason.
    """
    started = time.monotonic()
    before = stat_fingerprint(video.path)
    try:
        outcome = _extract(video, config, parent, before)
        refused.forget(parent, video.video_id)
    except VideoError as error:
        outcome = refused_outcome(video, error.reason, error.detail)
    except FileNotFoundError:  # gone between two looks at it
        if stat_fingerprint(video.path) == before:
            raise
        outcome = refused_outcome(video, "changed_while_reading", str(video.path))
    except MemoryError as error:
        outcome = refused_outcome(
            video, "out_of_memory", str(error) or f"limit {config.limits.memory_mib} MiB"
        )
    if outcome.status != "ok" and before is not None:
        refused.remember(parent, outcome, before)
    return replace(outcome, seconds=time.monotonic() - started)


def refused_outcome(video: Video, reason: str, detail: str) -> Outcome:
    """The outcome of a video that gives no crops."""
    return Outcome(
        video.video_id, "skipped" if reason in SKIPPED_REASONS else "failed", reason, detail
    )


def _extract(
    video: Video, config: ExtractConfig, parent: Path, before: refused.Fingerprint | None
) -> Outcome:
    """The straight road for one video. Raises: VideoError with the reason; CacheError when the
    disk gives out.
    """
    if before is None:
        raise VideoError(why_absent(video.path), str(video.path))
    info, people, paired = _people(video, config, parent)
    digest = hash_now(video)
    if not digest or stat_fingerprint(video.path) != before:
        raise VideoError("changed_while_reading", str(video.path))
    flags = [*info.flags]
    if info.guard:
        flags.append("sequential")
    if config.crop.pair_boxes and video.pair and not paired:
        flags.append("own_boxes")
    committed: list[Outcome] = []
    for crops in reversed(
        people
    ):  # the main person last: its folder says that the video is finished
        name = video.video_id if crops.track == 0 else f"{video.video_id}--{crops.track}"
        masks, mask_flag = cut_masks(video, crops, config) if config.crop.masks else (None, "")
        own_flags = [*flags, *([mask_flag] if mask_flag else [])]
        if len(crops.pixels) < config.crop.clips:
            own_flags.append("fewer_clips")
        frames = int(crops.index.size)
        outcome = Outcome(
            name, "ok", flags=tuple(sorted(own_flags)), clips=len(crops.pixels), frames_read=frames
        )
        attributes = {
            **facts(video),
            "split": video.split,
            "split_origin": video.split_origin,
            "file": {"path": os.fspath(video.path), "sha256": digest, **before},
            "media": _media(info),
            "outcome": {k: v for k, v in asdict(outcome).items() if k != "seconds"},
            "settings": config.crop.settings(),
        }
        bands = _bands(crops.pixels, config.crop) if config.crop.bands else None
        write_video(parent, name, crops, bands, masks, attributes, config.crop.codec)
        committed.append(outcome)
    return committed[-1]


def _people(
    video: Video, config: ExtractConfig, parent: Path
) -> tuple[VideoInfo, list[Crops], bool]:
    """Everybody in the video, main person first, and whether they were cut where the original has
    them.
    """
    if config.crop.pair_boxes and video.pair:
        from unmask.pipeline.extraction.pairs import places_of

        cut = [
            read_crops(video.path, config, places, first=video.first_frame)
            for places in places_of(video, parent)
        ]
        if cut:
            return cut[0][0], [crops for _, people in cut for crops in people], True
    return *read_crops(video.path, config, first=video.first_frame), False


def extract_beside(videos: Sequence[Video], config: ExtractConfig, parent: Path) -> list[Outcome]:
    """extract_video of each in a thread of its own, with one detector for all of them."""
    detector = detector_for(config.crop)

    def extract(video: Video) -> Outcome:
        with detector.seat():
            return extract_video(video, config, parent)

    with ThreadPoolExecutor(len(videos), thread_name_prefix="video") as pool:
        return list(pool.map(extract, videos))


def _media(info: VideoInfo) -> dict[str, object]:
    names = (
        "container",
        "codec",
        "pixel_format",
        "width",
        "height",
        "rotation",
        "fps",
        "frames",
        "method",
        "guard",
    )
    return {name: getattr(info, name) for name in names} | {
        "flags": list(info.flags),
        "start": float(info.pts[0]),
    }


def _bands(pixels: NDArray[np.uint8], crop: CropConfig) -> NDArray[np.float16]:
    from unmask.pipeline.cache.bands import coefficients

    return np.stack([coefficients(clip, crop.band_definition) for clip in pixels])
