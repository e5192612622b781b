"""One video, from its file to its committed groups in the cache: the task that a worker process runs.

Never raises for a bad video: whatever is wrong with the file becomes the Outcome's reason. read_crops is the part
that predict shares, so that a model sees in use what it saw in training.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import outcomes
from pipeline.cache import open_video, write_video
from pipeline.commit import remove_folder
from pipeline.config import CropConfig, ExtractConfig
from pipeline.errors import CacheError, VideoError
from pipeline.records import REAL, Crops, Outcome, Video, VideoInfo

if TYPE_CHECKING:
    from pipeline.detector import Detector
    from pipeline.pairs import Places

log = logging.getLogger(__name__)

# Nothing is wrong with these files; there is only nothing in them to keep.
SKIPPED_REASONS = frozenset({"no_face", "too_short"})

# Where a file lies and which split it is in may change without making its crops another video's.
NOT_FACTS = frozenset({"path", "mask", "split", "split_origin", "pair_id"})

# Videos that one process works on at a time. Those beside each other share the detector's batches, and its context on
# a GPU, which costs half a gigabyte there for every process.
BESIDE = {"cpu": 1, "cuda": 4}

# What lies in a group's folder, however damaged it is (pipeline/cache.py).
GROUP_NAMES = frozenset({"zarr.json", "digest.json", "crops", "bands", "masks"})


def finished(video: Video, parent: Path, config: ExtractConfig) -> Outcome | None:
    """The outcome of a video that needs no work: committed from this very file, or refused for a lasting reason.

    Looks only; a folder that does not stand is taken away by make_room.
    """
    fingerprint = stat_fingerprint(video.path)
    if fingerprint is None:
        return None
    if os.path.lexists(parent / video.video_id):
        return _standing(parent / video.video_id, video, fingerprint)
    return None if config.retry else outcomes.recall(parent, video.video_id, fingerprint)


def _standing(folder: Path, video: Video, fingerprint: outcomes.Fingerprint) -> Outcome | None:
    """The outcome that a committed folder tells, or None when it is damaged or was made from something else."""
    try:
        attributes = open_video(folder).attributes
    except CacheError as error:
        log.info("%r is damaged and is made again: %s", str(folder), error)
        return None
    file, said = attributes["file"], facts(video)
    same_size = file["size"] == fingerprint["size"]
    same_file = same_size and file["mtime_ns"] == fingerprint["mtime_ns"]
    same_facts = {name: attributes.get(name) for name in said} == said
    if same_facts and (same_file or (same_size and file["sha256"] == _hash_now(video))):
        return Outcome(**{**attributes["outcome"], "flags": tuple(attributes["outcome"]["flags"])})
    log.info("%r was made from another file or with other labels; it is made again", str(folder))
    return None


def make_room(video: Video, parent: Path, present: Mapping[str, Sequence[str]]) -> None:
    """Take away the groups of a video that must be made again; where its file is gone they stay as they are.

    present: video_id -> names of its groups in `parent`, as they were before they were judged.
    Raises: CacheError for a name that something else than a group of ours has taken.
    """
    if stat_fingerprint(video.path) is None:
        return
    for name in present.get(video.video_id, ()):
        folder = parent / name
        foreign = {name} if folder.is_symlink() or not folder.is_dir() else {*os.listdir(folder)} - GROUP_NAMES
        if foreign:
            raise CacheError(
                f"{folder}: {sorted(foreign)[0]!r} is not of unmask and is in the way; move it elsewhere"
            )
        remove_folder(folder)


def extract_video(video: Video, config: ExtractConfig, parent: Path) -> Outcome:
    """Decode, detect, align and commit one video; whatever is wrong with the file becomes the Outcome's reason."""
    started = time.monotonic()
    before = stat_fingerprint(video.path)
    try:
        outcome = _extract(video, config, parent, before)
        outcomes.forget(parent, video.video_id)
    except VideoError as error:
        outcome = refused(video, error.reason, error.detail)
    except FileNotFoundError:  # gone between two looks at it
        if stat_fingerprint(video.path) == before:
            raise
        outcome = refused(video, "changed_while_reading", str(video.path))
    except MemoryError as error:
        outcome = refused(video, "out_of_memory", str(error) or f"limit {config.limits.memory_mib} MiB")
    if outcome.status != "ok" and before is not None:
        outcomes.remember(parent, outcome, before)
    return replace(outcome, seconds=time.monotonic() - started)


def refused(video: Video, reason: str, detail: str) -> Outcome:
    """The outcome of a video that gives no crops."""
    return Outcome(video.video_id, "skipped" if reason in SKIPPED_REASONS else "failed", reason, detail)


def _extract(video: Video, config: ExtractConfig, parent: Path, before: outcomes.Fingerprint | None) -> Outcome:
    """The straight road for one video. Raises: VideoError with the reason; CacheError when the disk gives out."""
    if before is None:
        raise VideoError(_why_absent(video.path), str(video.path))
    info, people, paired = _people(video, config, parent)
    digest = _hash_now(video)
    if not digest or stat_fingerprint(video.path) != before:
        raise VideoError("changed_while_reading", str(video.path))
    flags = [*info.flags]
    if info.guard:
        flags.append("sequential")
    if config.crop.pair_boxes and video.pair and not paired:
        flags.append("own_boxes")
    committed: list[Outcome] = []
    for crops in reversed(people):  # the main person last: its folder says that the video is finished
        name = video.video_id if crops.track == 0 else f"{video.video_id}--{crops.track}"
        masks, mask_flag = _masks(video, crops, config) if config.crop.masks else (None, "")
        own_flags = [*flags, *([mask_flag] if mask_flag else [])]
        if len(crops.pixels) < config.crop.clips:
            own_flags.append("fewer_clips")
        frames = int(crops.index.size)
        outcome = Outcome(name, "ok", flags=tuple(sorted(own_flags)), clips=len(crops.pixels), frames_read=frames)
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


def _people(video: Video, config: ExtractConfig, parent: Path) -> tuple[VideoInfo, list[Crops], bool]:
    """Everybody in the video, main person first, and whether they were cut where the original has them."""
    if config.crop.pair_boxes and video.pair:
        from pipeline.pairs import places_of

        cut = [read_crops(video.path, config, places, first=video.first_frame) for places in places_of(video, parent)]
        if cut:
            return cut[0][0], [crops for _, people in cut for crops in people], True
    return *read_crops(video.path, config, first=video.first_frame), False


def read_crops(
    path: Path, config: ExtractConfig, places: Places | None = None, first: int = 0
) -> tuple[VideoInfo, list[Crops]]:
    """Decode the clips of one video and cut its people out; planned where it is exact, else frame by frame.

    places: of one person of the original, where and when a fake is cut.
    first: as Video.first_frame.
    Raises: VideoError.
    """
    from pipeline.decode import PlanBroken, decode_clips, scan
    from pipeline.faces import find_crops
    from pipeline.windows import count_from, frame_numbers, plan_clips

    crop = config.crop
    info = count_from(scan(path, config.limits), first)
    for _ in range(2):
        if places is None:
            windows, there, boxes = plan_clips(info, crop.clips, crop.frames), None, None
        else:
            windows, there = places.find(info)
            boxes = places.boxes(there)
        try:
            people = find_crops(decode_clips(path, info, windows), detector_for(crop), crop, boxes)
            people = [replace(crops, index=frame_numbers(info, crops.index)) for crops in people]
            return info, people if places is None else [places.named(crops, there) for crops in people]
        except PlanBroken as broken:
            info = count_from(scan(path, config.limits, planned=False, guard=str(broken)), first)
    raise AssertionError("a sequential scan has no plan to break")


@functools.lru_cache(maxsize=2)
def detector_for(config: CropConfig) -> Detector:
    """The detector of these settings, built once per process: a worker keeps it for all its videos."""
    from pipeline.detector import build_detector
    from pipeline.shared_detector import SharedDetector

    detector = build_detector(config)
    return SharedDetector(detector) if BESIDE[config.device] > 1 else detector


def extract_beside(videos: Sequence[Video], config: ExtractConfig, parent: Path) -> list[Outcome]:
    """extract_video of each in a thread of its own, with one detector for all of them."""
    detector = detector_for(config.crop)

    def extract(video: Video) -> Outcome:
        with detector.seat():
            return extract_video(video, config, parent)

    with ThreadPoolExecutor(len(videos), thread_name_prefix="video") as pool:
        return list(pool.map(extract, videos))


def facts(video: Video) -> dict[str, object]:
    """What the dataset says of a video, as plain JSON; the split stays out, it belongs to the manifests."""
    plain = {name: value for name, value in asdict(video).items() if name not in NOT_FACTS}
    return json.loads(json.dumps(plain))


def stat_fingerprint(path: Path) -> outcomes.Fingerprint | None:
    """Size and modification time of a file (of all files in a folder of pictures), or None where there is none."""
    try:
        if not path.is_dir():
            found = path.stat()
            return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
        files = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
    except OSError:
        return None
    return {"size": sum(f.st_size for f in files), "mtime_ns": max((f.st_mtime_ns for f in files), default=0)}


def content_hash(path: Path) -> str:
    """sha256 of the bytes; of a folder of pictures: of every name and its bytes, in order of the names."""
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_file():
            digest.update(os.fsencode(entry.name) + b"\0" + bytes.fromhex(content_hash(Path(entry.path))))
    return digest.hexdigest()


def _hash_now(video: Video) -> str:
    """content_hash, or "" where the file cannot be read (any more)."""
    try:
        return content_hash(video.path)
    except OSError:
        return ""


def _why_absent(path: Path) -> str:
    """The reason of a file that cannot even be looked at."""
    try:
        path.stat()
    except PermissionError:
        return "permission"
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else "not_a_file"
    return "permission"  # a folder whose names may be listed, but not what they stand for


def _media(info: VideoInfo) -> dict[str, object]:
    names = ("container", "codec", "pixel_format", "width", "height", "rotation", "fps", "frames", "method", "guard")
    return {name: getattr(info, name) for name in names} | {"flags": list(info.flags), "start": float(info.pts[0])}


def _bands(pixels: NDArray[np.uint8], crop: CropConfig) -> NDArray[np.float16]:
    from pipeline.bands import coefficients

    return np.stack([coefficients(clip, crop.band_definition) for clip in pixels])


def _masks(video: Video, crops: Crops, config: ExtractConfig) -> tuple[NDArray[np.uint8] | None, str]:
    """Manipulation masks (N, T, S, S) uint8 cut with the face's own transforms, and a flag where there are none.

    A real video has all-zero masks. Mask videos are lossy, so they are thresholded at mid-grey (datasets sheet 1.4).
    """
    from pipeline.decode import PlanBroken, decode_clips, scan
    from pipeline.faces import crop_clip
    from pipeline.windows import find_windows

    shape = crops.pixels.shape[:4]
    if video.label == REAL:
        return np.zeros(shape, np.uint8), ""
    if video.mask is None or not video.mask.exists():
        return None, "no_mask"
    info = scan(video.mask, config.limits)
    for _ in range(2):
        windows, there = find_windows(info, crops.index)
        if not there.all():
            return None, "mask_incomplete"
        try:
            clips = zip(decode_clips(video.mask, info, windows), crops.transform, strict=True)
            grey = [crop_clip(frames.pixels, transform, config.crop.size)[..., 1] for frames, transform in clips]
            return np.where(np.stack(grey) >= 128, 255, 0).astype(np.uint8), ""
        except PlanBroken as broken:
            info = scan(video.mask, config.limits, planned=False, guard=str(broken))
    raise AssertionError("a sequential scan has no plan to break")
