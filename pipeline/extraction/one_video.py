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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache import refused
from unmask.pipeline.cache.bands import coefficients
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.config import CropConfig, ExtractConfig, pixel_libraries
from unmask.pipeline.disk.folders import remove_folder
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction.crops import detector_for, read_crops, refusal_of
from unmask.pipeline.extraction.masks import (
    MASK_ELSEWHERE,
    SEVERAL_PERSONS,
    cut_masks,
    forged_persons,
)
from unmask.pipeline.extraction.pairs import OtherViewError, places_of
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.extraction.resume import (
    basis_of,
    contents_of,
    drop_groups,
    facts,
    group_names,
    why_absent,
)
from unmask.pipeline.records import REAL, TRANSIENT_REASONS, Crops, Outcome, Video, VideoInfo

log = logging.getLogger(__name__)

# Nothing is wrong with these files; there is only nothing in them to keep.
SKIPPED_REASONS = frozenset({"no_face", "too_short"})


def extract_video(video: Video, config: ExtractConfig, parent: Path) -> Outcome:
    """Decode, detect, align and commit one video; whatever is wrong with the file becomes the
    Outcome's reason.
    """
    started = time.monotonic()
    before = basis_of(video, parent, config)
    try:
        outcome = _extract(video, config, parent, before)
    except FileNotFoundError:  # gone between two looks at it
        if basis_of(video, parent, config) == before:
            raise
        outcome = refused_outcome(video, "changed_while_reading", str(video.path))
    except Exception as error:
        refusal = refusal_of(error, config.limits)
        if refusal is None:
            raise
        outcome = refused_outcome(video, *refusal)
    if before is not None:
        refused.remember(parent, outcome, before)
        if outcome.status != "ok" and outcome.reason not in TRANSIENT_REASONS:
            drop_groups(video, parent)
    return replace(outcome, seconds=time.monotonic() - started)


def settings_of_run(config: ExtractConfig) -> dict[str, object]:
    """What a group's attributes say of the settings it was made with, on this machine."""
    return config.crop.settings(config.reference or reference_of(config.crop))


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
    cut = _cut_people(video, config, parent)
    info = cut.info
    contents = contents_of(video, parent, config)
    if not contents["file"]["sha256"] or basis_of(video, parent, config) != before:
        raise VideoError("changed_while_reading", str(video.path))
    flags = [*info.flags, *cut.flags]
    if info.guard:
        flags.append("sequential")
    committed: list[Outcome] = []
    # The main person last: its folder says that the video is finished.
    for crops in reversed(cut.people):
        name = video.video_id if crops.track == 0 else f"{video.video_id}--{crops.track}"
        masks, mask_flag = None, ""
        if config.crop.masks:
            masks, mask_flag = cut_masks(video, crops, _size(info), config)
        own_flags = [*flags, *([mask_flag] if mask_flag else [])]
        if len(crops.pixels) < config.crop.clips:
            own_flags.append("fewer_clips")
        frames = len(np.unique(crops.index))
        if frames < crops.index.size:
            own_flags.append("overlapping_clips")
        outcome = Outcome(
            name,
            "ok",
            detail=info.missing,
            flags=tuple(sorted(own_flags)),
            clips=len(crops.pixels),
            frames_read=frames,
        )
        attributes = {
            **facts(video),
            "split": video.split,
            "split_origin": video.split_origin,
            **contents,
            "groups": len(cut.people),
            "media": _media(info),
            "outcome": {k: v for k, v in asdict(outcome).items() if k != "seconds"},
            "settings": settings_of_run(config),
            "libraries": pixel_libraries(),
        }
        bands = _bands(crops.pixels, config.crop) if config.crop.bands else None
        standing = os.path.lexists(parent / name)
        write_video(parent, name, crops, bands, masks, attributes, config.crop.codec, standing)
        committed.append(outcome)
    for name in group_names(parent, video.video_id)[len(cut.people) :]:
        remove_folder(parent / name)
    return committed[-1]


@dataclass(frozen=True)
class _Cut:
    """The persons of one video, main person first, and what a reader should know of the choice."""

    info: VideoInfo
    people: list[Crops]
    flags: tuple[str, ...] = ()


def _cut_people(video: Video, config: ExtractConfig, parent: Path) -> _Cut:
    """Everybody in the video who is to be kept; of a fake those who are forged, as far as its mask
    says so.
    """
    if video.label == REAL:
        return _Cut(*read_crops(video.path, config, first=video.first_frame))
    paired = _cut_like_original(video, config, parent)
    own_boxes = ("own_boxes",) if config.crop.pair_boxes and video.pair else ()
    if paired is not None:
        chosen = forged_persons(video, paired.people, _size(paired.info), config)
        if chosen:
            return replace(paired, people=chosen)
        if chosen is None:
            return _doubtful(paired, config)
    cut = _Cut(*read_crops(video.path, config, first=video.first_frame, everyone=True), own_boxes)
    chosen = forged_persons(video, cut.people, _size(cut.info), config)
    if chosen == [] and config.crop.faces == "main":
        # Small faces beside a large one are only looked for where all are wanted.
        careful = replace(config, crop=replace(config.crop, faces="all"))
        cut = _Cut(*read_crops(video.path, careful, first=video.first_frame), own_boxes)
        chosen = forged_persons(video, cut.people, _size(cut.info), config)
    if chosen is None:
        return _doubtful(cut, config)
    if not chosen:
        return replace(cut, people=_wanted(cut, config), flags=(*cut.flags, MASK_ELSEWHERE))
    return replace(cut, people=_wanted(replace(cut, people=chosen), config))


def _cut_like_original(video: Video, config: ExtractConfig, parent: Path) -> _Cut | None:
    """A fake's persons where its original has them; None without --pair-boxes, without an original,
    and where the fake shows something else there.
    """
    if not (config.crop.pair_boxes and video.pair):
        return None
    info, people = None, []
    try:
        for places in places_of(video, parent):
            info, crops = read_crops(video.path, config, places, first=video.first_frame)
            people += crops
    except OtherViewError as error:
        log.info("%r is cut by its own faces: %s", str(video.path), error)
        return None
    return _Cut(info, people) if info else None


def _doubtful(cut: _Cut, config: ExtractConfig) -> _Cut:
    """A fake without a mask: with several persons in view nobody knows who of them is forged."""
    several = (SEVERAL_PERSONS,) if cut.people[0].persons > 1 else ()
    return replace(cut, people=_wanted(cut, config), flags=(*cut.flags, *several))


def _wanted(cut: _Cut, config: ExtractConfig) -> list[Crops]:
    return cut.people if config.crop.faces == "all" else cut.people[:1]


def _size(info: VideoInfo) -> tuple[int, int]:
    return info.width, info.height


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
        "promised",
        "missing",
        "aspect",
        "matrix",
        "transfer",
        "primaries",
        "full_range",
        "method",
        "guard",
    )
    return {name: getattr(info, name) for name in names} | {
        "flags": list(info.flags),
        "start": float(info.pts[0]),
    }


def _bands(pixels: NDArray[np.uint8], crop: CropConfig) -> NDArray[np.float16]:
    return np.stack([coefficients(clip, crop.band_definition) for clip in pixels])
