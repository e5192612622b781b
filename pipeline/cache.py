"""Commit, open and verify one video's Zarr v3 group; the only place that writes or trusts what lies in the cache.

    cache/<dataset>/<key>/<video_id>/zarr.json            group; its attributes say everything about the video
                                     crops/zarr.json      array (N,T,S,S,3) uint8, chunk = clip
                                     crops/c.0.0.0.0.0    its one shard file
                                     bands/ masks/        the same for (N,T,3,K) float16 and (N,T,S,S) uint8
                                     digest.json          sha256 and size of every file above, written last

The folder appears by one rename (commit.py). zarr-python opens it without our code, `compact` crops wherever unmask
is installed. Nothing is read before its metadata equals, field by field, what this file writes for that shape, so a
forged zarr.json cannot name another codec or a giant array. Equal input gives equal bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec
from zarr.registry import register_codec
from zarr.storage import MemoryStore

from pipeline.atomic import begin_sync
from pipeline.codecs import ROW_DELTA, ROWS_FIRST, RowDelta
from pipeline.commit import commit_folder, lock_cache, remove_folder, remove_stale
from pipeline.digest import Facts, canonical, check_size, problems_of, read_checked, read_digest, write_digest
from pipeline.errors import CacheError
from pipeline.records import Crops
from pipeline.shard_bytes import Encoder, packed, shard_parts, with_crc
from pipeline.shards import Shard

__all__ = [
    "CachedVideo",
    "is_committed",
    "lock_cache",
    "open_video",
    "remove_folder",
    "remove_stale",
    "verify_video",
    "write_video",
]

GROUP = "zarr.json"
CODECS = ("zstd", "none", "compact")
SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")

# Of the default codec for crops. Measured on real faces beside PNG folders read with OpenCV (0.44 of raw): level 1 is
# 0.61 of raw and read 6 to 7 times as fast, level -1 is 0.68 and 9 times; who wants small takes compact, 0.27.
FAST_LEVEL = -1

# name -> (dtype, axes)
ARRAYS: dict[str, tuple[np.dtype, tuple[str, ...]]] = {
    "crops": (np.dtype("uint8"), ("clip", "frame", "y", "x", "colour")),
    "bands": (np.dtype("<f2"), ("clip", "frame", "colour", "coefficient")),
    "masks": (np.dtype("uint8"), ("clip", "frame", "y", "x")),
}

# Far above any real cache, far below what hurts: the most a foreign zarr.json can make us allocate for one clip.
MAX_CLIPS = 65_536
MAX_CLIP_BYTES = 2**30


class CachedVideo:
    """One committed video, its metadata checked; clips are checked as they are read.

    folder: where it lies.   shape: (N, T, S, S, 3) of the crops.   codec: of the crops.   arrays: names it holds.
    Cheap to keep by the thousand: no open file, and attributes are parsed only when asked for.
    """

    def __init__(self, folder: Path, shards: dict[str, Shard], group: dict[str, Any]) -> None:
        self.folder, self._shards, self._group = folder, shards, group
        self.shape, self.codec, self.arrays = shards["crops"].shape, shards["crops"].codec, tuple(shards)

    @property
    def clips(self) -> int:
        return self.shape[0]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """What write_video was given, read again from the checked zarr.json."""
        return read_checked(self.folder, GROUP, self._group)["attributes"]

    def array_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one of `arrays`."""
        return self._shards[name].shape

    def check_indices(self) -> None:
        """Read the index of every shard now. Raises CacheError."""
        for shard in self._shards.values():
            shard.check_index()

    def empty(self, count: int) -> NDArray[np.uint8]:
        """Room for `count` clips, (count, T, S, S, 3), in the memory order that reading fills without a copy."""
        return self._shards["crops"].empty(count)

    def read_clip(self, clip: int, out: NDArray[np.uint8]) -> None:
        """Fill `out` (T, S, S, 3) with one clip. Raises CacheError when it is damaged."""
        self._shards["crops"].read(clip, out)

    def read_crops(self, clips: Sequence[int], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """(n, T, S, S, 3) uint8 of the chosen clips, in their order. Raises CacheError when one is damaged."""
        return self._read("crops", clips, out)

    def read_bands(self, clips: Sequence[int], out: NDArray[np.float16] | None = None) -> NDArray[np.float16]:
        """(n, T, 3, K) float16 coefficients (bands.py). Raises CacheError when damaged or extracted without bands."""
        return self._read("bands", clips, out)

    def read_masks(self, clips: Sequence[int], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """(n, T, S, S) uint8. Raises CacheError when damaged or extracted without masks."""
        return self._read("masks", clips, out)

    def _read(self, name: str, clips: Sequence[int], out: NDArray | None) -> NDArray:
        shard = self._shards.get(name)
        if shard is None:
            raise CacheError(f"{self.folder}: holds no {name}; extract with --{name}")
        out = shard.empty(len(clips)) if out is None else out
        if len(out) != len(clips):
            raise ValueError(f"{len(clips)} clips do not fit {len(out)} places")
        for row, clip in enumerate(clips):
            shard.read(int(clip), out[row])
        return out


def write_video(
    parent: Path,
    video_id: str,
    crops: Crops,
    bands: NDArray[np.float16] | None,
    masks: NDArray[np.uint8] | None,
    attributes: dict[str, Any],
    codec: str = "zstd",
) -> Path:
    """Commit one video's crops and all that is known of them as `parent/video_id`, and return that folder.

    bands: (N, T, 3, K).   masks: (N, T, S, S).   attributes: JSON values, numpy arrays and numbers; the fields of
    `crops` (index, pts, box, ...) are added under their names.   codec: zstd, compact or none, of the crops.
    A video that another run committed meanwhile is kept, and ours dropped.
    Raises CacheError (not writable, no space, a damaged folder in the way), ValueError (shapes, non-finite numbers).
    """
    if not SAFE_ID.fullmatch(video_id):
        raise ValueError(f"video id {video_id!r} is not a slug of [A-Za-z0-9._-]")
    if codec not in CODECS:
        raise ValueError(f"codec {codec!r} is not one of {', '.join(CODECS)}")
    arrays = _checked_arrays(crops.pixels, bands, masks)
    document = _with_crop_fields(_plain(attributes, "attributes"), crops)
    target = parent / video_id

    def fill(folder: Path) -> None:
        _write_group(folder, arrays, document, codec)
        write_digest(folder)

    needed = sum(array.nbytes for array in arrays.values())
    if not commit_folder(target, fill, needed) and not is_committed(target):
        raise CacheError(f"{target}: a damaged folder is in the way; `verify --repair` makes the video again")
    return target


def open_video(folder: Path) -> CachedVideo:
    """Open a committed video after checking all its metadata and the sizes of its shards.

    Raises CacheError when it is absent, incomplete, damaged, or not of the form this file writes.
    """
    files = read_digest(folder)
    names = [name for name in ARRAYS if f"{name}/{GROUP}" in files]
    listed = {GROUP, *(f"{n}/{GROUP}" for n in names), *(_shard_name(n) for n in names)}
    if "crops" not in names or set(files) != listed:
        raise CacheError(f"{folder}: holds {', '.join(sorted(files))!r:.300}, which is no video of unmask")
    group = read_checked(folder, GROUP, files[GROUP])
    kind = {key: value for key, value in group.items() if key != "attributes"}
    if kind != {"node_type": "group", "zarr_format": 3} or not isinstance(group.get("attributes"), dict):
        raise CacheError(f"{folder}: {GROUP} is not a group as unmask writes it; extract the video again")
    shards = {name: _open_shard(folder, name, files) for name in names}
    clips = {shard.shape[:2] for shard in shards.values()}
    if len(clips) > 1:
        raise CacheError(f"{folder}: its arrays differ in clips and frames: {sorted(clips)}; extract the video again")
    return CachedVideo(folder, shards, files[GROUP])


def is_committed(folder: Path) -> bool:
    """Whether the folder has its digest and every file in its size: one small read and a few stats, no checksums."""
    try:
        for name, facts in read_digest(folder).items():
            check_size(folder, name, facts)
    except CacheError:
        return False
    return True


def verify_video(folder: Path) -> list[str]:
    """Every problem of a cached video, in words; empty when all its bytes are as they were written."""
    problems = problems_of(folder)
    if not problems:
        try:
            open_video(folder).check_indices()
        except CacheError as error:
            problems.append(str(error))
    return problems


def _checked_arrays(
    crops: NDArray[np.uint8], bands: NDArray[np.float16] | None, masks: NDArray[np.uint8] | None
) -> dict[str, NDArray]:
    """The arrays to write. Raises ValueError where they do not describe the same clips."""
    clips, frames, side = crops.shape[:3]
    wanted = {"crops": (clips, frames, side, side, 3), "masks": (clips, frames, side, side)}
    if bands is not None:
        wanted["bands"] = (clips, frames, 3, bands.shape[-1])
    arrays = {n: a for n, a in (("crops", crops), ("bands", bands), ("masks", masks)) if a is not None}
    for name, array in arrays.items():
        if array.shape != wanted[name] or array.dtype != ARRAYS[name][0] or not array.size:
            raise ValueError(f"{name}: expected {wanted[name]} {ARRAYS[name][0]}, got {array.shape} {array.dtype}")
    # Largest where all exponent bits are set; numpy's isfinite takes 3 ms for the float16 of a video.
    if bands is not None and (bands.view(np.uint16) & 0x7FFF).max() >= 0x7C00:
        raise ValueError("bands: not all coefficients are finite numbers")
    return arrays


def _with_crop_fields(attributes: dict[str, Any], crops: Crops) -> dict[str, Any]:
    """Attributes with every field of the crops but their pixels. Raises ValueError where a caller says otherwise."""
    fields = {name: _plain(value, name) for name, value in vars(crops).items() if name != "pixels"}
    for name in fields.keys() & attributes.keys():
        if attributes[name] != fields[name]:
            raise ValueError(f"attributes.{name} differs from the crops' own {name}")
    return dict(sorted({**fields, **attributes}.items()))


def _plain(value: Any, where: str) -> Any:
    """`value` as JSON values with sorted keys. Raises ValueError naming the place of a number that is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"{where}: a key is not a string")
        return {key: _plain(value[key], f"{where}.{key}") for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where}: {type(value).__name__} is no JSON value")


def _write_group(folder: Path, arrays: dict[str, NDArray], attributes: dict[str, Any], codec: str) -> None:
    group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    (folder / GROUP).write_text(json.dumps(group, indent=2))
    for name, data in arrays.items():
        (folder / name).mkdir()
        (folder / name / GROUP).write_bytes(_array_metadata(name, data.shape, codec))
        with open(folder / _shard_name(name), "xb") as file:
            file.writelines(shard_parts(data, _encoder(name, codec)))
            begin_sync(file)


@lru_cache(maxsize=64)
def _array_metadata(name: str, shape: tuple[int, ...], codec: str) -> bytes:
    """An array's zarr.json as zarr-python writes it; kept, since most videos have equal shapes: 7 ms a video."""
    register_codec(ROW_DELTA, RowDelta)  # the entry point does the same in an installed package
    filters, compressors = _pipeline(name, codec)
    written: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(written),
        shape=shape,
        dtype=ARRAYS[name][0],
        chunks=(1, *shape[1:]),
        shards=shape,
        filters=filters,
        compressors=compressors,
        fill_value=0,
        dimension_names=ARRAYS[name][1],
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    return written[GROUP].to_bytes()


def _encoder(name: str, codec: str) -> Encoder:
    """What makes a chunk's bytes as the array's metadata say (_pipeline)."""
    if codec == "none":
        return with_crc
    compact = codec == "compact" and name == "crops"
    return packed(level=FAST_LEVEL if name == "crops" and not compact else 1, rows=compact)


def _pipeline(name: str, codec: str) -> tuple[list | None, list]:
    """zarr's (filters, compressors) of one array; the checksum is always the outermost."""
    if codec == "none":
        return None, [Crc32cCodec()]
    if codec == "compact" and name == "crops":
        return [TransposeCodec(order=ROWS_FIRST), RowDelta()], [ZstdCodec(level=1, checksum=True)]
    level = FAST_LEVEL if name == "crops" else 1
    return None, [ZstdCodec(level=level, checksum=True)]


def _expected_metadata(name: str, shape: tuple[int, ...], codec: str) -> dict[str, Any]:
    """An array's zarr.json as write_video makes it, without its shape and what zarr versions add or leave out."""
    dtype, axes = ARRAYS[name]
    filters, compressors = _pipeline(name, codec)
    endian = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    inner = [*(f.to_dict() for f in filters or []), {"name": "bytes", **endian}, *(c.to_dict() for c in compressors)]
    sharding = {
        "chunk_shape": [1, *shape[1:]],
        "codecs": inner,
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "data_type": dtype.name,
        "dimension_names": list(axes),
        "fill_value": dtype.type(0).item(),
        "node_type": "array",
        "zarr_format": 3,
    }


def _checked_metadata(name: str, meta: dict[str, Any], path: Path) -> tuple[tuple[int, ...], str]:
    """(shape, codec) of an array whose metadata are exactly ours. Raises CacheError naming the field that is not."""
    shape, (dtype, axes) = meta.get("shape"), ARRAYS[name]
    if not isinstance(shape, list) or len(shape) != len(axes) or not all(type(n) is int and n > 0 for n in shape):
        raise CacheError(f"{path}: shape {shape!r:.100} is not {len(axes)} positive sizes")
    if shape[0] > MAX_CLIPS or math.prod(shape[1:]) * dtype.itemsize > MAX_CLIP_BYTES:
        raise CacheError(f"{path}: shape {shape} is larger than any cache of unmask")
    found = {key: value for key, value in meta.items() if key != "shape" and not _optional(key, value)}
    for codec in CODECS:
        expected = _expected_metadata(name, tuple(shape), codec)
        wrong = [
            k for k in sorted(found.keys() | expected.keys()) if canonical(found.get(k)) != canonical(expected.get(k))
        ]
        if not wrong:
            return tuple(shape), codec
        if wrong != ["codecs"]:
            break
    raise CacheError(f"{path}: {', '.join(wrong)} not as unmask writes it; extract the video again")


def _optional(key: str, value: Any) -> bool:
    return (key == "attributes" and value == {}) or (key == "storage_transformers" and value == [])


def _open_shard(folder: Path, name: str, files: dict[str, Facts]) -> Shard:
    meta = read_checked(folder, f"{name}/{GROUP}", files[f"{name}/{GROUP}"])
    shape, codec = _checked_metadata(name, meta, folder / name / GROUP)
    if name == "crops" and (shape[2] != shape[3] or shape[4] != 3):
        raise CacheError(f"{folder / name / GROUP}: shape {shape} is not (N, T, S, S, 3)")
    check_size(folder, _shard_name(name), files[_shard_name(name)])
    return Shard(folder / _shard_name(name), shape, ARRAYS[name][0], codec, files[_shard_name(name)]["size"])


def _shard_name(name: str) -> str:
    """The only shard of an array, relative to the video's folder."""
    return f"{name}/c" + ".0" * len(ARRAYS[name][1])
