"""Joins the road from dataset to cache and manifests: what is done is skipped, what is left is shared out to workers.

On disk a video is absent or whole, and one that was refused is remembered with its reason, so running again does
only what is left, and gives the same bytes as a run that was never stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from pipeline import outcomes
from pipeline.atomic import write_whole
from pipeline.cache import is_committed, lock_cache, open_video, remove_stale
from pipeline.config import PIXEL_LIBRARIES, CropConfig, ExtractConfig
from pipeline.errors import CacheError
from pipeline.index import write_index
from pipeline.manifests import write_manifest
from pipeline.records import SPLITS, Entry, Outcome, Video
from pipeline.sources import Dataset
from pipeline.video import finished, make_room, stat_fingerprint

log = logging.getLogger(__name__)


def cache_folder(cache: Path, dataset: str, config: CropConfig) -> Path:
    """Where the videos of one dataset lie for these settings: cache/<dataset>/<key>."""
    return cache / dataset / config.cache_key()


def run(
    videos: Sequence[Video],
    config: ExtractConfig,
    cache: Path,
    progress: Callable[[Outcome], None] = lambda outcome: None,
    again: Collection[str] = (),
) -> list[Outcome]:
    """Bring every video into the cache that is not there yet, and return how each one ended, in the order given.

    videos: of one dataset.   progress: called once per video, the ones already done first.
    again: ids of videos to make again even where they seem whole (their bytes were found damaged).
    Raises: CacheError when the cache cannot be written or another run holds it.
    """
    from pipeline import cluster, workers  # joblib starts its machinery at import; a dry run never needs it

    if not videos:
        return []
    ids = {video.key: video.video_id for video in videos}
    videos = [replace(video, pair_id=ids.get(video.pair or "", video.pair_id)) for video in videos]
    parent = cache_folder(cache, videos[0].dataset, config.crop)
    prepare_folder(parent)
    with _held(parent, config):
        write_index(parent, videos, config.crop)
        ended: dict[str, Outcome] = {}
        present, again_count = _groups(parent), 0
        for video in videos:
            known = None if video.video_id in again else finished(video, parent, config)
            if known is None:
                again_count += video.video_id in present
                make_room(video, parent, present)
            else:
                ended[video.video_id] = known
                progress(known)
        if again_count:
            log.warning("%d videos are made again: damaged, or made from other files or labels", again_count)
        share = _own_share(videos, config.shard, config.crop.pair_boxes)
        waiting = _longest_first([v for v in share if v.video_id not in ended])
        for phase in _phases(waiting, config.crop.pair_boxes):
            for outcome in (cluster if config.scheduler else workers).dispatch(phase, config, parent):
                ended[outcome.video_id] = outcome
                progress(outcome)
    return [ended[v.video_id] for v in videos if v.video_id in ended]


def prepare_folder(parent: Path) -> None:
    """Make the cache folder and prove that it can be written, before anything is decoded.

    Raises: CacheError with the operating system's reason.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        probe = parent / f".tmp-probe-{os.getpid()}"
        probe.touch(exist_ok=True)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(
            f"{parent}: the cache cannot be written ({error.strerror}); choose another with --cache"
        ) from error


@contextlib.contextmanager
def _held(parent: Path, config: ExtractConfig) -> Iterator[None]:
    """The cache folder under its lock and without leftovers, before and after, however the run ends."""
    with lock_cache(parent, shared=config.shard != (1, 1) or not config.lock):
        _clean(parent)
        try:
            yield
        finally:  # workers that were killed have left their half-written folders
            _clean(parent)


def _clean(parent: Path) -> None:
    """Remove what dead runs left behind; the caller holds the lock."""
    for folder in (parent, parent / outcomes.RECORDS):
        if folder.exists():
            remove_stale(folder)


def _groups(parent: Path) -> dict[str, list[str]]:
    """video_id -> names of its groups, one per person, whole or not."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(parent)):
        owner, _, track = name.rpartition("--")
        found.setdefault(owner if owner and track.isdigit() else name, []).append(name)
    return found


def publish(
    dataset: Dataset, ended: Sequence[Outcome], config: ExtractConfig, cache: Path, manifests: Path
) -> dict[Path, int]:
    """Write manifests, outcomes.jsonl and extract.json per compression, and return each manifest with its length.

    Lists every committed video of the dataset, not only those of this call, so that `--shard` runs and interrupted
    runs end with the same files as one uninterrupted run. Layout: <manifests>/<dataset>/<compression>/<split>.txt.
    """
    parent = cache_folder(cache, dataset.name, config.crop)
    known = {outcome.video_id: outcome for outcome in ended}
    written: dict[Path, int] = {}
    for compression in sorted({video.compression for video in dataset.videos}):
        videos = [video for video in dataset.videos if video.compression == compression]
        folder = manifests / dataset.name / compression
        if folder.exists():
            remove_stale(folder)
        rows = [known.get(v.video_id) or _present(v, parent) for v in videos]
        for split in (*SPLITS, "none"):
            entries = [
                Entry(f"{dataset.name}/{parent.name}/{track}", video.label)
                for video, outcome in zip(videos, rows, strict=True)
                if video.split == split and outcome is not None and outcome.status == "ok"
                for track in _tracks(parent, video.video_id, config.crop)
            ]
            if entries:
                path = folder / f"{split if split != 'none' else 'all'}.txt"
                write_manifest(path, entries)
                written[path] = len(entries)
        lacking = [v for v in dataset.missing if v.compression == compression]
        rows += [Outcome(v.video_id, "failed", "missing", "an official list names it") for v in lacking]
        listed = [
            outcomes.Listed(outcome, video.label, video.method, video.split)
            for video, outcome in zip([*videos, *lacking], rows, strict=True)
            if outcome is not None
        ]
        outcomes.write_outcomes(folder / "outcomes.jsonl", listed)
        about = describe_run(config, dataset)
        write_whole(folder / "extract.json", json.dumps(about, indent=1, sort_keys=True).encode() + b"\n")
    return written


def describe_run(config: ExtractConfig, dataset: Dataset) -> dict[str, object]:
    """Settings and versions of one extraction, for extract.json beside the manifests; no times, no machine names."""
    libraries = {name: version(name) for name in (*PIXEL_LIBRARIES, "zarr", "numpy", "joblib", "unmask")}
    return {
        "dataset": dataset.name,
        "cache_key": config.crop.cache_key(),
        "settings": config.crop.settings(),
        "limits": asdict(config.limits),
        "versions": {"python": platform.python_version(), **libraries},
        "notes": list(dataset.notes),
    }


def _present(video: Video, parent: Path) -> Outcome | None:
    """How a video of another shard, or of an earlier run, ended; None when nobody has worked on it yet."""
    folder = parent / video.video_id
    if not is_committed(folder):
        return outcomes.recall(parent, video.video_id)
    found = open_video(folder).attributes["outcome"]
    return Outcome(**{**found, "flags": tuple(found["flags"])})


def _tracks(parent: Path, video_id: str, crop: CropConfig) -> list[str]:
    """The folders of one video: its own, and with `--faces all` one more per further person."""
    others = sorted(parent.glob(f"{video_id}--*")) if crop.faces == "all" else []
    return [video_id, *(folder.name for folder in others if folder.name.removeprefix(f"{video_id}--").isdigit())]


def _phases(videos: list[Video], pair_boxes: bool) -> list[list[Video]]:
    """Originals before their fakes where a fake is cut at its original's boxes; else everything at once."""
    if not pair_boxes:
        return [videos] if videos else []
    return [part for part in ([v for v in videos if not v.pair], [v for v in videos if v.pair]) if part]


def _own_share(videos: Sequence[Video], shard: tuple[int, int], pair_boxes: bool = False) -> list[Video]:
    """The K-th of N parts (K from 1): by a hash of the id, so that adding videos moves no other.

    pair_boxes: a fake goes with its original, whose boxes it must wait for.
    """
    part, parts = shard
    if parts == 1:
        return list(videos)
    owners = [(v.pair_id if pair_boxes else None) or v.video_id for v in videos]
    shares = [int(hashlib.sha256(owner.encode()).hexdigest()[:8], 16) % parts for owner in owners]
    return [v for v, share in zip(videos, shares, strict=True) if share == part - 1]


def _longest_first(videos: list[Video]) -> list[Video]:
    """Big files first, so that the last worker does not start the longest video when the others have ended."""
    sizes = {v.video_id: (stat_fingerprint(v.path) or {"size": 0})["size"] for v in videos}
    return sorted(videos, key=lambda v: (-sizes[v.video_id], v.video_id))
