"""The same file under several names: whatever hangs on its copies is one leakage group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from unmask.pipeline.cache.video import attributes_of
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.splits import joined_groups

log = logging.getLogger(__name__)


def splits_of(
    videos: Sequence[Video], outcomes: Iterable[Outcome | None], parent: Path
) -> dict[str, str]:
    """video_id -> split. Groups that share a file follow the first of them, in the videos' order.

    Official splits are the owners' and stay; `manifest check` names what they share.
    parent: the cache folder, whose groups know the sha256 of the file they were made from.
    """
    splits = {video.video_id: video.split for video in videos}
    first: dict[str, str] = {}
    links = []
    for video, outcome in zip(videos, outcomes, strict=True):
        if outcome is None or outcome.status != "ok":
            continue
        file = attributes_of(parent / video.video_id).get("file")
        digest = file.get("sha256") if isinstance(file, dict) else ""
        if digest and (group := first.setdefault(digest, video.group)) != video.group:
            links.append((group, video.group))
    if not links:
        return splits
    log.warning(
        "%d files are copies of others under another name; what hangs on them stays in one split",
        len(links),
    )
    joined = joined_groups(links)
    leading: dict[object, str] = {}
    for video in videos:
        if video.group in joined and video.split_origin == "derived":
            splits[video.video_id] = leading.setdefault(joined[video.group], video.split)
    return splits
