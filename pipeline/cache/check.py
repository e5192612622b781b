"""Every byte of a cache against its digests, and the damaged videos made again from their
sources.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.cache.index import INDEX, read_index
from unmask.pipeline.cache.refused import noted, recall, recorded
from unmask.pipeline.cache.video import open_video, verify_video
from unmask.pipeline.errors import CacheError

# Persons of one video that are looked for.
MAX_GROUPS = 1000


@dataclass(frozen=True)
class Checked:
    """One folder of the cache and what is wrong with it; no problems means whole."""

    folder: Path
    problems: tuple[str, ...]


def cache_folders(cache: Path, dataset: str | None = None) -> list[Path]:
    """The folders <dataset>/<key> of a cache, sorted.

    Raises: CacheError where there is none.
    """
    found = sorted(path.parent for path in cache.glob(f"{dataset or '*'}/*/{INDEX}"))
    if not found:
        raise CacheError(
            f"{cache / (dataset or '')}: no extracted dataset there; expected "
            f"<cache>/<dataset>/<key>/{INDEX}"
        )
    return found


def video_folders(parent: Path) -> list[Path]:
    """The groups under <dataset>/<key>: one per video and person, damaged ones included."""
    return sorted(
        path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def missing_videos(parent: Path) -> list[Path]:
    """Groups that must be under <dataset>/<key> and are not: of every video that its index names
    and that was not refused, of every other that was made, as its outcome says (its row may be
    damaged), and of each further person that a main person's group counts.

    Raises: CacheError where the index cannot be read.
    """
    named = [video.video_id for video in read_index(parent).videos]
    made = [name for name in sorted({*recorded(parent)} - {*named}) if noted(parent, name)]
    missing = []
    for name in (*named, *made):
        folder = parent / name
        if not os.path.lexists(folder):
            if recall(parent, name) is None:
                missing.append(folder)
            continue
        try:
            groups = open_video(folder).attributes.get("groups")
        except CacheError:  # damaged: check says so
            continue
        groups = groups if type(groups) is int and groups < MAX_GROUPS else 1
        others = [parent / f"{name}--{track}" for track in range(1, groups)]
        missing += [other for other in others if not os.path.lexists(other)]
    return missing


def damaged_rows(parent: Path) -> tuple[str, ...]:
    """One line for every row of the index that cannot be read. Raises: CacheError for all of it."""
    return read_index(parent).damaged


def check(folders: Sequence[Path], threads: int = 2) -> Iterator[Checked]:
    """Read every byte of each group; hashing releases the interpreter's lock, so threads are
    enough.
    """
    with ThreadPoolExecutor(threads) as pool:
        for folder, problems in zip(folders, pool.map(verify_video, folders), strict=True):
            yield Checked(folder, tuple(problems))
