"""What a cache folder was made from: settings and every video's record, in `index.json` beside the
groups.

A group whose own metadata is destroyed cannot say where it came from; with the index, repair can
still redo it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from unmask.pipeline.cache.video import settings_of
from unmask.pipeline.cache.writing import SAFE_ID
from unmask.pipeline.config import CropConfig
from unmask.pipeline.disk.files import json_object, parse_json, read_bounded, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.disk.locks import taking_turns
from unmask.pipeline.errors import CacheError, ManifestError
from unmask.pipeline.records import Video

log = logging.getLogger(__name__)

INDEX = "index.json"

# A row has some 500 bytes: room for a million videos, far from filling a machine's memory.
MAX_INDEX = 2**29

# Damaged rows that are told one by one.
SHOWN = 20

AGAIN = "run extract again, it writes a new one"

KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True)
class Index:
    """What an index says.

    videos: of its readable rows; settings: {} where they cannot be read.
    damaged: one line for every row (and the settings) that cannot be read, naming file and row.
    """

    videos: tuple[Video, ...]
    settings: dict[str, object]
    damaged: tuple[str, ...] = ()


def write_index(parent: Path, videos: Sequence[Video], settings: dict[str, object]) -> None:
    """Add these videos to the index of `parent`; sorted, and written only when something
    changed. Damaged rows of the one that stands there are left out with a warning.

    settings: CropConfig.settings, with the reference that this machine matches.
    """
    with taking_turns(parent):
        known: dict[str, Video] = {}
        if (parent / INDEX).exists():
            try:
                standing = read_index(parent)
            except CacheError as error:
                log.warning("%s", error)
            else:
                known = {video.video_id: video for video in standing.videos}
                for line in standing.damaged[:SHOWN]:
                    log.warning("%s; left out", line)
        merged = known | {video.video_id: video for video in videos}
        rows = ",\n".join(
            json.dumps(_plain(merged[name]), sort_keys=True) for name in sorted(merged)
        )
        text = f'{{"settings": {json.dumps(settings, sort_keys=True)},\n"videos": [\n{rows}\n]}}\n'
        data = text.encode()
        path = parent / INDEX
        if not path.exists() or path.read_bytes() != data:
            write_whole(path, data)


def read_index(parent: Path) -> Index:
    """The videos and the settings of a cache folder; a damaged row costs that row.

    Raises: CacheError where the index is absent, or nothing of it can be read.
    """
    path = parent / INDEX
    damaged: list[str] = []
    try:
        data = read_bounded(path, MAX_INDEX, CacheError)
        try:
            settings, rows = _as_one(data, path)
        except CacheError:
            settings, rows = _line_by_line(data, path, damaged)
    except CacheError as error:
        raise CacheError(f"{error}; no readable index: {AGAIN}") from error
    videos: dict[str, Video] = {}
    for where, row in rows:
        try:
            video = record_of(Video, row, where, CacheError)
            if not SAFE_ID.fullmatch(video.video_id) or video.video_id in videos:
                raise CacheError(
                    f"{where}: damaged: its video_id {video.video_id!r:.80} is no name or another "
                    "row's"
                )
        except CacheError as error:
            damaged.append(str(error))
        else:
            videos[video.video_id] = video
    if not isinstance(settings, dict):
        damaged.append(f"{path}: damaged: no settings")
        settings = {}
    if damaged and not videos and not settings:
        raise CacheError(f"{damaged[0]}; no readable index: {AGAIN}")
    return Index(tuple(videos.values()), settings, tuple(damaged))


# A value of the list of videos, and what a refusal of it names.
Row = tuple[str, object]


def _as_one(data: bytes, path: Path) -> tuple[object, list[Row]]:
    """(settings, rows) of an index that is JSON as a whole. Raises CacheError."""
    index = json_object(parse_json(data, path, CacheError), path, CacheError)
    rows = index.get("videos")
    if not isinstance(rows, list):
        raise CacheError(f"{path}: damaged: not a list of videos with their settings")
    named = [(f"{path}: video {place}", row) for place, row in enumerate(rows, start=1)]
    return index.get("settings"), named


def _line_by_line(data: bytes, path: Path, damaged: list[str]) -> tuple[object, list[Row]]:
    """The same of one that is not: write_index gives the settings and every video a line of its
    own. What cannot be read is told in `damaged`.
    """
    first, *lines = data.rstrip(b"\n").split(b"\n")
    settings: object = None
    with contextlib.suppress(CacheError):  # told by who asks for them
        opened = parse_json(first.rstrip(b",") + b"}", path, CacheError)
        settings = json_object(opened, path, CacheError).get("settings")
    if lines and lines[-1] == b"]}":
        lines.pop()
    else:
        damaged.append(f"{path}: damaged: ends early, rows may be lost")
    rows: list[Row] = []
    for number, line in enumerate(lines, start=2):
        if line == b'"videos": [':
            continue
        where = f"{path}: line {number}"
        try:  # as a list: two rows may have lost the line break between them
            found = parse_json(b"[" + line.rstrip(b",") + b"]", where, CacheError)
        except CacheError as error:
            damaged.append(str(error))
        else:
            rows += [(where, row) for row in found]
    return settings, rows


def settings_of_key(parent: Path) -> dict[str, object]:
    """The settings that a cache folder <cache>/<dataset>/<key> was made with; {} where nobody knows
    them.

    They stand in its index. Where that is absent (videos copied by hand), or they are damaged
    there, the first video that says so answers.
    """
    try:
        index = read_index(parent)
    except CacheError as error:
        log.info("settings of %r are asked of its videos: %s", os.fspath(parent), error)
    else:
        if index.settings or not index.damaged:
            return index.settings
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
