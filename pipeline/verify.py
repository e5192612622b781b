"""Every byte of a cache against its digests, and the damaged videos made again from their sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.cache import verify_video
from pipeline.config import ExtractConfig
from pipeline.errors import CacheError
from pipeline.index import INDEX, crop_config, read_index
from pipeline.records import Outcome


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
            f"{cache / (dataset or '')}: no extracted dataset there; expected <cache>/<dataset>/<key>/{INDEX}"
        )
    return found


def video_folders(parent: Path) -> list[Path]:
    """The groups under <dataset>/<key>: one per video and person, damaged ones included."""
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def check(folders: Sequence[Path], threads: int = 2) -> Iterator[Checked]:
    """Read every byte of each group; hashing releases the interpreter's lock, so threads are enough."""
    with ThreadPoolExecutor(threads) as pool:
        for folder, problems in zip(folders, pool.map(verify_video, folders), strict=True):
            yield Checked(folder, tuple(problems))


def repair(
    damaged: Sequence[Path], config: ExtractConfig, cache: Path, progress: Callable[[Outcome], None]
) -> list[Outcome]:
    """Make exactly the videos of the damaged groups again; one whose source is gone keeps what is left of it.

    Raises: CacheError where a folder is in no index, or where the software of today gives other pixels.
    """
    from pipeline import extract

    by_parent: dict[Path, list[Path]] = defaultdict(list)
    for folder in damaged:
        by_parent[folder.parent].append(folder)
    plans = []
    for parent, folders in by_parent.items():
        videos, settings = read_index(parent)
        known = {video.video_id: video for video in videos}
        owners = {
            folder: folder.name if folder.name in known else folder.name.rsplit("--", 1)[0] for folder in folders
        }
        strangers = [folder.name for folder, owner in owners.items() if owner not in known]
        if strangers:
            raise CacheError(f"{parent}: {', '.join(strangers[:5])} is in no index; not ours, or run extract again")
        plans.append(([known[name] for name in sorted(set(owners.values()))], crop_config(settings)))
    ended = []
    for videos, crop in plans:
        again = frozenset(video.video_id for video in videos)
        ended += extract.run(videos, replace(config, crop=crop), cache, progress, again=again)
    return ended
