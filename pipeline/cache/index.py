"""What a cache folder was made from: settings and every video's record, in `index.json` beside the
groups.

A group whose own metadata is destroyed cannot say where it came from; with the index, repair can
still redo it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from unmask.pipeline.config import CropConfig
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.disk.locks import taking_turns
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import Video

log = logging.getLogger(__name__)

INDEX = "index.json"


def write_index(parent: Path, videos: Sequence[Video], crop: CropConfig) -> None:
    """Add these videos to the index of `parent`; sorted, and written only when something
    changed.
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
        text = f'{{"settings": {json.dumps(crop.settings(), sort_keys=True)},\n"videos": [\n{rows}\n]}}\n'  # noqa: E501
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
        index = json.loads(path.read_bytes())
        return [_video(row) for row in index["videos"]], index["settings"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CacheError(
            f"{path}: no readable index ({error}); run extract again, it writes a new one"
        ) from error


def crop_config(settings: dict[str, object]) -> CropConfig:
    """The settings of a cache folder as today's CropConfig.

    Raises: CacheError naming what differs, when the software of today would give another cache key.
    """
    names = {field.name for field in fields(CropConfig)}
    crop = CropConfig(**{name: value for name, value in settings.items() if name in names})
    today = crop.settings()
    if differing := sorted(
        name for name in today.keys() | settings.keys() if today.get(name) != settings.get(name)
    ):
        what = ", ".join(
            f"{name} {settings.get(name)} there, {today.get(name)} here" for name in differing
        )
        raise CacheError(
            f"this cache was made with other software ({what}); extract into a new cache folder "
            "instead"
        )
    return crop


def _plain(video: Video) -> dict[str, object]:
    mask = os.fspath(video.mask) if video.mask else None
    return {**asdict(video), "path": os.fspath(video.path), "mask": mask}


def _video(row: dict[str, object]) -> Video:
    mask = Path(row["mask"]) if row["mask"] else None
    spans = {name: tuple(map(tuple, row[name])) for name in ("fake_spans", "fake_frames")}
    return Video(**{**row, **spans, "path": Path(row["path"]), "mask": mask})
