"""Decide whether a video's folder may stand as it is, or must be made again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.pipeline.cache import refused
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.disk.files import json_object
from unmask.pipeline.disk.folders import remove_folder
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import Outcome, Video

log = logging.getLogger(__name__)


if TYPE_CHECKING:
    pass


# Where a file lies and which split it is in may change without making its crops another video's.
NOT_FACTS = frozenset({"path", "mask", "split", "split_origin", "pair_id"})

# What lies in a group's folder, however damaged it is (pipeline/cache/zarr_layout.py).
GROUP_NAMES = frozenset({"zarr.json", "digest.json", "crops", "bands", "masks"})


def finished(video: Video, parent: Path, config: ExtractConfig) -> Outcome | None:
    """The outcome of a video that needs no work: committed from this very file, or refused for a
    lasting reason.

    Looks only; a folder that does not stand is taken away by make_room.
    """
    fingerprint = stat_fingerprint(video.path)
    if fingerprint is None:
        return None
    if os.path.lexists(parent / video.video_id):
        return _standing(parent / video.video_id, video, fingerprint)
    return None if config.retry else refused.recall(parent, video.video_id, fingerprint)


def _standing(folder: Path, video: Video, fingerprint: refused.Fingerprint) -> Outcome | None:
    """The outcome that a committed folder tells, or None when it is damaged or was made from
    something else.
    """
    try:
        attributes = open_video(folder).attributes
        outcome = record_of(Outcome, attributes.get("outcome"), folder, CacheError)
        file = json_object(attributes.get("file"), folder, CacheError)
    except CacheError as error:
        log.info("%r is damaged and is made again: %s", str(folder), error)
        return None
    said = facts(video)
    same_size = file.get("size") == fingerprint["size"]
    same_file = same_size and file.get("mtime_ns") == fingerprint["mtime_ns"]
    same_facts = {name: attributes.get(name) for name in said} == said
    if same_facts and (same_file or (same_size and file.get("sha256") == hash_now(video))):
        return outcome
    log.info("%r was made from another file or with other labels; it is made again", str(folder))
    return None


def make_room(video: Video, parent: Path, present: Mapping[str, Sequence[str]]) -> None:
    """Take away the groups of a video that must be made again; where its file is gone they stay as
    they are.

    present: video_id -> names of its groups in `parent`, as they were before they were judged.
    Raises: CacheError for a name that something else than a group of ours has taken.
    """
    if stat_fingerprint(video.path) is None:
        return
    for name in present.get(video.video_id, ()):
        folder = parent / name
        foreign = (
            {name}
            if folder.is_symlink() or not folder.is_dir()
            else {*os.listdir(folder)} - GROUP_NAMES
        )
        if foreign:
            raise CacheError(
                f"{folder}: {sorted(foreign)[0]!r} is not of unmask and is in the way; move it "
                "elsewhere"
            )
        remove_folder(folder)


def facts(video: Video) -> dict[str, object]:
    """What the dataset says of a video, as plain JSON; the split stays out, it belongs to the
    manifests.
    """
    plain = {name: value for name, value in asdict(video).items() if name not in NOT_FACTS}
    return json.loads(json.dumps(plain))


def stat_fingerprint(path: Path) -> refused.Fingerprint | None:
    """Size and modification time of a file (of all files in a folder of pictures), or None where
    there is none.
    """
    try:
        if not path.is_dir():
            found = path.stat()
            return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
        files = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
    except OSError:
        return None
    return {
        "size": sum(f.st_size for f in files),
        "mtime_ns": max((f.st_mtime_ns for f in files), default=0),
    }


def content_hash(path: Path) -> str:
    """sha256 of the bytes; of a folder of pictures: of every name and its bytes, in order of the
    names.
    """
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_file():
            digest.update(
                os.fsencode(entry.name) + b"\0" + bytes.fromhex(content_hash(Path(entry.path)))
            )
    return digest.hexdigest()


def hash_now(video: Video) -> str:
    """content_hash, or "" where the file cannot be read (any more)."""
    try:
        return content_hash(video.path)
    except OSError:
        return ""


def why_absent(path: Path) -> str:
    """The reason of a file that cannot even be looked at."""
    try:
        path.stat()
    except PermissionError:
        return "permission"
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else "not_a_file"
    return "permission"  # a folder whose names may be listed, but not what they stand for
