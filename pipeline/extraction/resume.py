"""Decide whether a video's folder may stand as it is, or must be made again.

A folder is finished when a fresh run would give the same bytes. What can change them is compared:
settings (they are the name of the cache folder), what the lists say, the source and the mask by
name and content, and for a fake that is cut at its original's boxes what these boxes were. So that
nobody has to read whole files to see that they are the same, the record of each video in
`.outcomes/` also keeps what the files looked like: names, sizes, both times and inodes. Where one
of these differs, the contents decide.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unmask.pipeline.cache import refused
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.cache.writing import replace_attributes
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.disk.files import json_object
from unmask.pipeline.disk.folders import remove_folder
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction.pairs import origin_of
from unmask.pipeline.records import REAL, Outcome, Video

log = logging.getLogger(__name__)

# Where a file lies and which split it is in may change without making its crops another video's.
NOT_FACTS = frozenset({"path", "mask", "split", "split_origin", "pair_id"})

# What lies in a group's folder, however damaged it is (pipeline/cache/zarr_layout.py).
GROUP_NAMES = frozenset({"zarr.json", "digest.json", "crops", "bands", "masks"})

# Persons of one video; what says more is no record of ours.
MAX_GROUPS = 1000


def finished(video: Video, parent: Path, config: ExtractConfig) -> Outcome | None:
    """The outcome of a video that needs no work: committed from these very files, or refused for a
    lasting reason.

    Looks only.
    """
    basis = basis_of(video, parent, config)
    if basis is None:
        return None
    if os.path.lexists(parent / video.video_id):
        return _standing(video, parent, basis)
    return None if config.retry else refused.recall(parent, video.video_id, basis)


def settle(video: Video, outcome: Outcome, parent: Path, config: ExtractConfig) -> None:
    """Bring what lies beside the crops of a finished video up to date: what its files look like
    now, its split, and no folders of persons that an earlier run found.

    Raises: CacheError, DiskError.
    """
    if outcome.status != "ok":
        return drop_groups(video, parent)
    names = group_names(parent, video.video_id)
    groups = groups_of(open_video(parent / video.video_id))
    for name in names[groups:]:
        remove_folder(parent / name)
    split = {"split": video.split, "split_origin": video.split_origin}
    # The main person last, as when they are made: it is the one that is asked.
    for name in reversed(names[:groups]):
        attributes = open_video(parent / name).attributes
        if any(attributes.get(key) != value for key, value in split.items()):
            replace_attributes(parent / name, split)
    basis = basis_of(video, parent, config)
    if basis is not None and refused.noted(parent, video.video_id) != basis:
        refused.remember(parent, outcome, basis)


def refuse_foreign(video: Video, parent: Path) -> None:
    """Make sure that nothing but groups of ours has the names of a video's groups.

    Raises: CacheError naming what is in the way.
    """
    for name in group_names(parent, video.video_id):
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


def drop_groups(video: Video, parent: Path) -> None:
    """Take away the groups of a video that a fresh run would refuse, the main person's first:
    without it the video counts as absent.
    """
    for name in group_names(parent, video.video_id):
        remove_folder(parent / name)


def group_names(parent: Path, video_id: str) -> list[str]:
    """Names of a video's groups in the cache folder, whole or not: the main person's, and with
    `--faces all` one more per further person.
    """
    others = {
        int(track): f"{video_id}--{track}"
        for path in parent.glob(f"{video_id}--*")
        if (track := path.name.removeprefix(f"{video_id}--")).isdigit()
    }
    own = [video_id] if os.path.lexists(parent / video_id) else []
    return [*own, *(others[track] for track in sorted(others))]


def groups_of(main: CachedVideo) -> int:
    """How many groups a video has, as its main person's says. Raises: CacheError."""
    groups = main.attributes.get("groups")
    if type(groups) is not int or not 1 <= groups <= MAX_GROUPS:
        raise CacheError(f"{main.folder}: damaged: it does not say how many persons there are")
    return groups


def facts(video: Video) -> dict[str, object]:
    """What the dataset says of a video, as plain JSON; the split stays out, it belongs to the
    manifests.
    """
    plain = {name: value for name, value in asdict(video).items() if name not in NOT_FACTS}
    return json.loads(json.dumps(plain))


def basis_of(video: Video, parent: Path, config: ExtractConfig) -> refused.Fingerprint | None:
    """Everything beside settings and lists that an outcome rests on, cheap to look up; None where
    there is no file.

    file, mask: stat_fingerprint; the mask's None where none is looked at.
    origin: of a fake's boxes, "" where they are its own.
    """
    file = stat_fingerprint(video.path)
    if file is None:
        return None
    mask = stat_fingerprint(video.mask) if asks_mask(video) else None
    return {"file": file, "mask": mask, "origin": _origin(video, parent, config)}


def contents_of(video: Video, parent: Path, config: ExtractConfig) -> dict[str, object]:
    """The same by content, as a group's attributes keep it; sha256 "" where a file cannot be read.

    Reads both files whole.
    """
    mask = None
    if asks_mask(video):
        mask = {"name": video.mask.name, "sha256": hash_now(video.mask)}
    size = (stat_fingerprint(video.path) or {"size": 0})["size"]
    file = {"name": video.path.name, "sha256": hash_now(video.path), "size": size}
    return {"file": file, "mask_file": mask, "origin": _origin(video, parent, config)}


def asks_mask(video: Video) -> bool:
    """Whether a mask decides what is cut: of a fake that has one."""
    return video.label != REAL and video.mask is not None and video.mask.exists()


def stat_fingerprint(path: Path) -> dict[str, Any] | None:
    """What a file looks like without reading it, or None where there is none.

    Of a folder of pictures one sum of all names, sizes, times and inodes.
    """
    try:
        if not path.is_dir():
            return {"name": path.name, **_looks(path.stat())}
        entries = sorted(
            (entry for entry in os.scandir(path) if entry.is_file()), key=lambda entry: entry.name
        )
        files = [{"name": os.fsdecode(entry.name), **_looks(entry.stat())} for entry in entries]
    except OSError:
        return None
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    size = sum(file["size"] for file in files)
    return {"name": path.name, "size": size, "files": len(files), "looks": digest}


def _looks(status: os.stat_result) -> dict[str, int]:
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
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


def hash_now(path: Path) -> str:
    """content_hash, or "" where the file cannot be read (any more)."""
    try:
        return content_hash(path)
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


def _standing(video: Video, parent: Path, basis: refused.Fingerprint) -> Outcome | None:
    """The outcome that committed folders tell, or None when they are damaged or were made from
    something else.
    """
    folder = parent / video.video_id
    try:
        main, *_ = _open_groups(folder)
        attributes = main.attributes
        outcome = record_of(Outcome, attributes.get("outcome"), folder, CacheError)
        file = json_object(attributes.get("file"), folder, CacheError)
        mask = attributes.get("mask_file")
        mask = mask if mask is None else json_object(mask, folder, CacheError)
    except CacheError as error:
        log.info("%r is damaged and is made again: %s", str(folder), error)
        return None
    plain = facts(video)
    same_lists = {name: attributes.get(name) for name in plain} == plain
    same_origin = attributes.get("origin") == basis["origin"]
    noted = refused.noted(parent, video.video_id)
    if same_lists and same_origin and (noted == basis or _same_files(video, file, mask, basis)):
        return outcome
    log.info("%r was made from other files or with other labels; it is made again", str(folder))
    return None


def _open_groups(folder: Path) -> list[CachedVideo]:
    """A video's groups, the main person's first. Raises CacheError when one is damaged or gone."""
    main = open_video(folder)
    others = range(1, groups_of(main))
    return [main, *(open_video(folder.with_name(f"{folder.name}--{track}")) for track in others)]


def _same_files(
    video: Video,
    file: Mapping[str, object],
    mask: Mapping[str, object] | None,
    basis: refused.Fingerprint,
) -> bool:
    """Whether the contents are those that a group was made from. Reads both files whole."""
    if (mask is None) != (basis["mask"] is None):
        return False
    same_name = file.get("name") == video.path.name and file.get("size") == basis["file"]["size"]
    same_mask = mask is None or (
        mask.get("name") == video.mask.name and mask.get("sha256") == hash_now(video.mask)
    )
    return same_name and same_mask and file.get("sha256") == hash_now(video.path)


def _origin(video: Video, parent: Path, config: ExtractConfig) -> str:
    return origin_of(video, parent) if config.crop.pair_boxes and video.label != REAL else ""
