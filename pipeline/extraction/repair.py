"""Make damaged and missing folders of a cache again from their source videos: beside what is there,
then swapped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.cache.index import crop_config, read_index
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
    pixels.
    """
    by_parent: dict[Path, list[Path]] = defaultdict(list)
    for folder in damaged:
        by_parent[folder.parent].append(folder)
    plans = []
    for parent, folders in by_parent.items():
        videos, settings = read_index(parent)
        known = {video.video_id: video for video in videos}
        owners = {
            folder: folder.name if folder.name in known else folder.name.rsplit("--", 1)[0]
            for folder in folders
        }
        strangers = [folder.name for folder, owner in owners.items() if owner not in known]
        if strangers:
            raise CacheError(
                f"{parent}: {', '.join(strangers[:5])} is in no index; not ours, or run extract "
                "again"
            )
        plans.append(
            (
                [known[name] for name in sorted(set(owners.values()))],
                crop_config(settings, reference_of, parent),
            )
        )
    ended = []
    for videos, crop in plans:
        again = frozenset(video.video_id for video in videos)
        ended += run.extract(videos, replace(config, crop=crop), cache, progress, again=again)
    return ended
