"""Every byte of a cache against its digests, and the damaged videos made again from their
sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.cache.index import INDEX
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.errors import CacheError


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


def check(folders: Sequence[Path], threads: int = 2) -> Iterator[Checked]:
    """Read every byte of each group; hashing releases the interpreter's lock, so threads are
    enough.
    """
    with ThreadPoolExecutor(threads) as pool:
        for folder, problems in zip(folders, pool.map(verify_video, folders), strict=True):
            yield Checked(folder, tuple(problems))
