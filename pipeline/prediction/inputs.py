"""What a user names as videos: files, folders and patterns become a list, each video once."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.sources.listing import list_media


def expand(inputs: Sequence[str]) -> list[Path]:
    """Files, folders (all media below, a folder of pictures is one video) and globs as videos, each
    once.

    Raises UsageError for a folder or pattern that names nothing. A file that is not there stays in
    the list: its answer is `unreadable`.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found += _media(path)
        elif not path.exists() and glob.has_magic(text):
            matches = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
            if not matches:
                raise UsageError(f"{text}: no file matches")
            found += [
                video
                for match in matches
                for video in (_media(match) if match.is_dir() else [match])
            ]
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _media(folder: Path) -> list[Path]:
    listing = list_media(folder)
    found = [folder / name for name in (*listing.videos, *listing.folders)]
    if not found:
        raise UsageError(f"{folder}: no videos and no folders of pictures in it")
    return found
