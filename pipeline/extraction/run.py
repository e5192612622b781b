"""Joins the road from dataset to cache and manifests: what is done is skipped, what is left is
shared out to workers.

On disk a video is absent or whole, and one that was refused is remembered with its reason, so
running again does only what is left, and gives the same bytes as a run that was never stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.cache import refused
from unmask.pipeline.cache.index import write_index
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.disk.files import try_writing
from unmask.pipeline.disk.folders import restore_replaced
from unmask.pipeline.disk.locks import lock_cache
from unmask.pipeline.disk.permissions import like_parent, private_folder
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.extraction.resume import (
    finished,
    refuse_foreign,
    settle,
    stat_fingerprint,
)
from unmask.pipeline.records import Outcome, Video

log = logging.getLogger(__name__)


def cache_folder(cache: Path, dataset: str, config: CropConfig) -> Path:
    """Where the videos of one dataset lie for these settings, made on this machine:
    cache/<dataset>/<key>.
    """
    return cache / dataset / config.cache_key(reference_of(config))


def extract(
    videos: Sequence[Video],
    config: ExtractConfig,
    cache: Path,
    progress: Callable[[Outcome], None] = lambda outcome: None,
    again: Collection[str] = (),
) -> list[Outcome]:
    """Bring every video into the cache that is not there yet, and return how each one ended, in the
    order given.

    videos: of one dataset.
    progress: called once per video, the ones already done first.
    again: ids of videos to make again even where they seem whole (their bytes were found damaged).
    Raises: CacheError when the cache cannot be written or another run holds it.
    """
    if not videos:
        return []
    ids = {video.key: video.video_id for video in videos}
    videos = [replace(video, pair_id=ids.get(video.pair or "", video.pair_id)) for video in videos]
    parent = cache_folder(cache, videos[0].dataset, config.crop)
    config = replace(config, reference=reference_of(config.crop))
    prepare_folder(parent)
    with held(parent, config):
        share = _own_share(videos, config.shard, config.crop.pair_boxes)
        write_index(parent, share, config.crop.settings(config.reference))
        mine = {video.video_id for video in share}
        ended: dict[str, Outcome] = {}
        # Originals end before their fakes are looked at: a fake rests on what its original gave.
        for phase in _phases(videos, config.crop.pair_boxes):
            for outcome in _bring_up_to_date(phase, mine, config, parent, again):
                ended[outcome.video_id] = outcome
                progress(outcome)
    return [ended[v.video_id] for v in videos if v.video_id in ended]


def prepare_folder(parent: Path) -> None:
    """Make the cache folder <cache>/<dataset>/<key> and prove that it can be written, before
    anything is decoded. A cache that is new is its owner's alone (0700), for it holds faces.

    Raises: CacheError with the operating system's reason.
    """
    try:
        private_folder(parent.parent.parent)
        like_parent(parent)
        try_writing(parent)
    except OSError as error:
        raise CacheError(
            f"{parent}: the cache cannot be written ({error.strerror}); choose another with --cache"
        ) from error


@contextlib.contextmanager
def held(parent: Path, config: ExtractConfig) -> Iterator[None]:
    """The cache folder under its lock and without leftovers, before and after, however the run
    ends.
    """
    with lock_cache(parent, shared=config.shard != (1, 1) or not config.lock):
        for name in restore_replaced(parent) if config.lock and config.shard == (1, 1) else ():
            log.info("%r stands again: a run died while it was being replaced", name)
        _clean(parent)
        try:
            yield
        finally:  # workers that were killed have left their half-written folders
            _clean(parent)


def _clean(parent: Path) -> None:
    """Remove what dead runs left behind; the caller holds the lock."""
    for folder in (parent, parent / refused.RECORDS):
        if folder.exists():
            remove_stale(folder)


def _bring_up_to_date(
    videos: Sequence[Video],
    mine: Collection[str],
    config: ExtractConfig,
    parent: Path,
    again: Collection[str],
) -> Iterator[Outcome]:
    """How the videos ended, those first that need no work; only those of this shard are touched.

    mine: ids of this shard. What a shard will not make it never takes away: another may just have
        made it.
    """
    waiting, standing = [], 0
    for video in videos:
        known = None if video.video_id in again else finished(video, parent, config)
        if known is not None:
            if video.video_id in mine:
                settle(video, known, parent, config)
            yield known
        elif video.video_id in mine:
            refuse_foreign(video, parent)
            standing += os.path.lexists(parent / video.video_id)
            waiting.append(video)
    if standing:
        log.warning(
            "%d videos are made again: damaged, or made from other files or labels", standing
        )
    if waiting:
        # joblib and torch start their machinery at import; where nothing is left to do nobody waits
        if config.scheduler:
            from unmask.pipeline.extraction.dask import dispatch
        else:
            from unmask.pipeline.extraction.dispatch import dispatch
        yield from dispatch(_longest_first(waiting), config, parent)


def _phases(videos: Sequence[Video], pair_boxes: bool) -> list[list[Video]]:
    """Originals before their fakes where a fake is cut at its original's boxes; else everything at
    once.
    """
    if not pair_boxes:
        return [list(videos)]
    return [
        part for part in ([v for v in videos if not v.pair], [v for v in videos if v.pair]) if part
    ]


def _own_share(
    videos: Sequence[Video], shard: tuple[int, int], pair_boxes: bool = False
) -> list[Video]:
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
    """Big files first, so that the last worker does not start the longest video when the others
    have ended.
    """
    sizes = {v.video_id: (stat_fingerprint(v.path) or {"size": 0})["size"] for v in videos}
    return sorted(videos, key=lambda v: (-sizes[v.video_id], v.video_id))
