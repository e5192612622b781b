"""Make damaged and missing folders of a cache again from their source videos: beside what is there,
then swapped.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.cache.index import crop_config, read_index, settings_of_key
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction import run
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.records import Outcome


def repair(
    damaged: Sequence[Path], config: ExtractConfig, cache: Path, progress: Callable[[Outcome], None]
) -> list[Outcome]:
    """Make exactly the videos of the damaged groups again; one whose source is gone keeps what is
    left of it.

    damaged: groups under <cache>/<dataset>/<key>, there or missing.

    Raises: CacheError where a folder is in no index, or where the software of today gives other
    pixels. Where rows of an index are damaged, the videos of the others are made first.
    """
    by_parent: dict[Path, list[Path]] = defaultdict(list)
    for folder in damaged:
        by_parent[folder.parent].append(folder)
    plans, without_row = [], []
    for parent, folders in by_parent.items():
        index = read_index(parent)
        known = {video.video_id: video for video in index.videos}
        owners = {
            folder: folder.name if folder.name in known else folder.name.rsplit("--", 1)[0]
            for folder in folders
        }
        strangers = [folder.name for folder, owner in owners.items() if owner not in known]
        if strangers:
            refusal = CacheError(
                f"{parent}: {', '.join(strangers[:5])} is in no index; not ours, or run extract "
                "again"
            )
            if not index.damaged:
                raise refusal
            without_row.append(refusal)
        if found := sorted({*owners.values()} & known.keys()):
            crop = crop_config(settings_of_key(parent), reference_of, parent)
            plans.append(([known[name] for name in found], crop))
    ended = []
    for videos, crop in plans:
        again = frozenset(video.video_id for video in videos)
        ended += run.extract(videos, replace(config, crop=crop), cache, progress, again=again)
    if without_row:
        raise without_row[0]
    return ended


def tidy(parents: Sequence[Path]) -> None:
    """Clear what a repair that died has left in cache folders where nothing needs mending any more;
    a folder that another run holds, or that may not be written, stays as it is.
    """
    for parent in parents:
        with contextlib.suppress(CacheError), run.held(parent, ExtractConfig()):
            pass
