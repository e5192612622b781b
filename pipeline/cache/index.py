"""What a cache folder was made from: settings and every video's record, in `index.json` beside the
groups.

A group whose own metadata is destroyed cannot say where it came from; with the index, repair can
still redo it.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from unmask.pipeline.cache.video import settings_of
from unmask.pipeline.config import CropConfig
from unmask.pipeline.disk.files import read_json, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.disk.locks import taking_turns
from unmask.pipeline.errors import CacheError, ManifestError
from unmask.pipeline.records import Video

log = logging.getLogger(__name__)

INDEX = "index.json"

# A row has some 500 bytes: room for a million videos, far from filling a machine's memory.
MAX_INDEX = 2**29

KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


def write_index(parent: Path, videos: Sequence[Video], settings: dict[str, object]) -> None:
    """Add these videos to the index of `parent`; sorted, and written only when something
    changed.

    settings: CropConfig.settings, with the reference that this machine matches.
    """
    with taking_turns(parent):
        known: dict[str, Video] = {}
        if (parent / INDEX).exists():
            try:
                known = {video.video_id: video for video in read_index(parent)[0]}
            except CacheError as error:
                log.warning("%s", error)
        merged = known | {video.video_id: video for video in videos}
        rows = ",\n".join(
            json.dumps(_plain(merged[name]), sort_keys=True) for name in sorted(merged)
        )
        text = f'{{"settings": {json.dumps(settings, sort_keys=True)},\n"videos": [\n{rows}\n]}}\n'
        data = text.encode()
        path = parent / INDEX
        if not path.exists() or path.read_bytes() != data:
            write_whole(path, data)


def read_index(parent: Path) -> tuple[list[Video], dict[str, object]]:
    """The videos and the settings of a cache folder.

    Raises: CacheError where the index is absent or damaged.
    """
    path = parent / INDEX
    try:
        index = read_json(path, MAX_INDEX, CacheError)
        videos, settings = index.get("videos"), index.get("settings")
        if not isinstance(videos, list) or not isinstance(settings, dict):
            raise CacheError(f"{path}: damaged: not a list of videos with their settings")
        return [
            record_of(Video, row, f"{path}: video {place}", CacheError)
            for place, row in enumerate(videos, start=1)
        ], settings
    except CacheError as error:
        raise CacheError(
            f"{error}; no readable index: run extract again, it writes a new one"
        ) from error


def settings_of_key(parent: Path) -> dict[str, object]:
    """The settings that a cache folder <cache>/<dataset>/<key> was made with; {} where nobody knows
    them.

    They stand in its index. Where that is absent or damaged (videos copied by hand), the first
    video that says so answers.
    """
    try:
        return read_index(parent)[1]
    except CacheError as error:
        log.info("settings of %r are asked of its videos: %s", os.fspath(parent), error)
    try:
        names = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except (OSError, ValueError):
        return {}
    for name in names:
        try:
            if not name.startswith(".") and (settings := settings_of(parent / name)):
                return settings
        except ManifestError:
            continue
    return {}


def settings_in_cache(cache: Path, key: str) -> dict[str, object]:
    """The settings behind a cache key, of whichever dataset has a folder of that name; {} where
    nobody knows them.
    """
    if not KEY.fullmatch(key):
        return {}
    found = (settings_of_key(parent) for parent in sorted(cache.glob(f"*/{key}")))
    return next((settings for settings in found if settings), {})


def crop_config(
    settings: dict[str, object], reference_of: Callable[[CropConfig], str], where: object
) -> CropConfig:
    """The settings of a cache folder as today's CropConfig.

    where: the cache folder, for messages.
    reference_of: the reference values that this machine gives with such settings.
    Raises: CacheError naming what differs, when this machine today would give another cache key.
    """
    names = {field.name for field in fields(CropConfig)}
    known = {name: value for name, value in settings.items() if name in names}
    crop = record_of(CropConfig, known, f"{where}: settings", CacheError)
    if differing := CropConfig.differing(settings, crop.settings(reference_of(crop))):
        what = ", ".join(
            f"{name:.60} {there!s:.80} there, {here!s:.80} here"
            for name, (there, here) in differing.items()
        )
        raise CacheError(
            f"{where}: was made with other software ({what}); extract into a new cache folder "
            "instead"
        )
    return crop


def _plain(video: Video) -> dict[str, object]:
    mask = os.fspath(video.mask) if video.mask else None
    return {**asdict(video), "path": os.fspath(video.path), "mask": mask}
