"""Commit, open and verify one video's Zarr v3 group; the only place that writes or trusts what lies
in the cache.

    cache/<dataset>/<key>/<video_id>/
        zarr.json            group; its attributes say everything about the video
        crops/zarr.json      array (N,T,S,S,3) uint8, chunk = clip
        crops/c.0.0.0.0.0    its one shard file
        bands/ masks/        the same for (N,T,3,K) float16 and (N,T,S,S) uint8
        digest.json          sha256 and size of every file above, written last

The folder appears by one rename (disk/folders.py). zarr-python opens it without our code, `compact`
crops wherever unmask is installed. Nothing is read before its metadata equals, field by field, what
this file writes for that shape, so a forged zarr.json cannot name another codec or a giant array.
Equal input gives equal bytes.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unmask.pipeline.cache.attributes import checked_attributes
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.cache.described import Described
from unmask.pipeline.cache.digest import (
    MAX_METADATA_BYTES,
    Facts,
    check_size,
    problems_of,
    read_checked,
    read_digest,
)
from unmask.pipeline.cache.shard_reader import Shard
from unmask.pipeline.cache.zarr_layout import ARRAYS, GROUP, KNOWN, checked_metadata, shard_name
from unmask.pipeline.disk.files import read_json
from unmask.pipeline.errors import CacheError, ManifestError


class CachedVideo(Described, ClipReader):
    """One committed video, its metadata checked; clips are checked as they are read.

    Label, boxes, times and all else that is known of the video are properties (cache/described.py).

    folder: where it lies.
    shape: (N, T, S, S, 3) of the crops.
    codec: of the crops.
    arrays: names it holds.
    Cheap to keep by the thousand: no open file, and attributes are parsed only when asked for.
    """

    def __init__(self, folder: Path, shards: dict[str, Shard], group: dict[str, Any]) -> None:
        self.folder, self._shards, self._group = folder, shards, group
        self.shape, self.codec, self.arrays = (
            shards["crops"].shape,
            shards["crops"].codec.name,
            tuple(shards),
        )

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """What write_video was given, read again from the checked zarr.json."""
        found = read_checked(self.folder, GROUP, self._group)["attributes"]
        return checked_attributes(found, self.folder, CacheError, (self.shape[0], self.shape[1]))

    def check_indices(self) -> None:
        """Read the index of every shard now. Raises CacheError."""
        for shard in self._shards.values():
            shard.check_index()

    def empty(self, count: int, array: str = "crops") -> NDArray:
        return self._shards[array].empty(count)

    def read(self, array: str, clip: int, out: NDArray) -> None:
        self._shards[array].read(clip, out)

    def lacks(self, array: str) -> CacheError:
        return CacheError(f"{self.folder}: holds no {array}; extract with --{array}")


def open_video(folder: Path) -> CachedVideo:
    """Open a committed video after checking all its metadata and the sizes of its shards.

    Raises CacheError when it is absent, incomplete, damaged, or not of the form this file writes.
    """
    files = read_digest(folder)
    names = [name for name in ARRAYS if f"{name}/{GROUP}" in files]
    listed = {GROUP, *(f"{n}/{GROUP}" for n in names), *(shard_name(n) for n in names)}
    if "crops" not in names or set(files) != listed:
        raise CacheError(
            f"{folder}: holds {', '.join(sorted(files))!r:.300}, which is no video of unmask"
        )
    group = read_checked(folder, GROUP, files[GROUP])
    kind = {key: value for key, value in group.items() if key != "attributes"}
    if kind != {"node_type": "group", "zarr_format": 3} or not isinstance(
        group.get("attributes"), dict
    ):
        raise CacheError(
            f"{folder}: {GROUP} is not a group as unmask writes it; extract the video again"
        )
    shards = {name: open_shard(folder, name, files) for name in names}
    clips = {shard.shape[:2] for shard in shards.values()}
    if len(clips) > 1:
        raise CacheError(
            f"{folder}: its arrays differ in clips and frames: {sorted(clips)}; extract the "
            "video again"
        )
    return CachedVideo(folder, shards, files[GROUP])


def is_committed(folder: Path) -> bool:
    """Whether the folder has its digest and every file in its size: one small read and a few
    stats, no checksums.
    """
    try:
        for name, facts in read_digest(folder).items():
            check_size(folder, name, facts)
    except CacheError:
        return False
    return True


def verify_video(folder: Path) -> list[str]:
    """Every problem of a cached video, in words; empty when all its bytes are as they were
    written.
    """
    problems = problems_of(folder)
    if not problems:
        try:
            open_video(folder).check_indices()
        except CacheError as error:
            problems.append(str(error))
    return problems


def open_shard(folder: Path, name: str, files: dict[str, Facts]) -> Shard:
    """One array of a committed group, its metadata and size checked. Raises CacheError."""
    meta = read_checked(folder, f"{name}/{GROUP}", files[f"{name}/{GROUP}"])
    shape, codec = checked_metadata(name, meta, folder / name / GROUP)
    if name == "crops" and (shape[2] != shape[3] or shape[4] != 3):
        raise CacheError(f"{folder / name / GROUP}: shape {shape} is not (N, T, S, S, 3)")
    check_size(folder, shard_name(name), files[shard_name(name)])
    return Shard(
        folder / shard_name(name), shape, KNOWN[name][0], codec, files[shard_name(name)]["size"]
    )


GROUP_FILE = "zarr.json"


def attributes_of(folder: Path) -> dict[str, object]:
    """What a cached video's group says of it (label, method, group, settings ...); {} for a folder
    of pictures.

    Raises: ManifestError if the group's metadata is not readable, naming the field.
    """
    path = folder / GROUP_FILE
    if not path.is_file():
        return {}
    attributes = read_json(path, MAX_METADATA_BYTES, ManifestError).get("attributes", {})
    return checked_attributes(attributes, path, ManifestError)


def settings_of(folder: Path) -> dict[str, object]:
    """The extraction settings a cached video was made with, where its attributes name them."""
    settings = attributes_of(folder).get("settings", {})
    return settings if isinstance(settings, dict) else {}
