"""What the Zarr v3 metadata of a cached video must say, field by field, for writing and for reading
alike.

Nothing is read before its metadata equals what this file gives for its shape, so a forged zarr.json
cannot name another codec or a giant array.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.registry import register_codec
from zarr.storage import MemoryStore

from unmask.pipeline.cache.codecs import CODECS, Codec, codec_of
from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.cache.row_delta import ROW_DELTA, RowDelta
from unmask.pipeline.errors import CacheError

GROUP = "zarr.json"

# name -> (dtype, axes)
ARRAYS: dict[str, tuple[np.dtype, tuple[str, ...]]] = {
    "crops": (np.dtype("uint8"), ("clip", "frame", "y", "x", "colour")),
    "bands": (np.dtype("<f2"), ("clip", "frame", "colour", "coefficient")),
    "masks": (np.dtype("uint8"), ("clip", "frame", "y", "x")),
}

# Those that have a group of their own and never lie in a video's.
APART: dict[str, tuple[np.dtype, tuple[str, ...]]] = {
    "features": (np.dtype("<f2"), ("clip", "frame", "channel")),
}
KNOWN = ARRAYS | APART

# Far above any real cache, far below what hurts: the most a foreign zarr.json can make us allocate
# for one clip.
MAX_CLIPS = 65_536
MAX_CLIP_BYTES = 2**30


@lru_cache(maxsize=64)
def array_metadata(name: str, shape: tuple[int, ...], codec: str) -> bytes:
    """An array's zarr.json as zarr-python writes it; kept, since most videos have equal shapes: 7
    ms a video.
    """
    register_codec(ROW_DELTA, RowDelta)  # the entry point does the same in an installed package
    filters, compressors = codec_of(name, codec).zarr_pipeline()
    written: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(written),
        shape=shape,
        dtype=KNOWN[name][0],
        chunks=(1, *shape[1:]),
        shards=shape,
        filters=filters,
        compressors=compressors,
        fill_value=0,
        dimension_names=KNOWN[name][1],
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    return written[GROUP].to_bytes()


def _expected_metadata(name: str, shape: tuple[int, ...], codec: str) -> dict[str, Any]:
    """An array's zarr.json as write_video makes it, without its shape and what zarr versions add
    or leave out.
    """
    dtype, axes = KNOWN[name]
    filters, compressors = codec_of(name, codec).zarr_pipeline()
    endian = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    inner = [
        *(f.to_dict() for f in filters or []),
        {"name": "bytes", **endian},
        *(c.to_dict() for c in compressors),
    ]
    sharding = {
        "chunk_shape": [1, *shape[1:]],
        "codecs": inner,
        "index_codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "crc32c"},
        ],
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


def checked_metadata(name: str, meta: dict[str, Any], path: Path) -> tuple[tuple[int, ...], Codec]:
    """(shape, codec) of an array whose metadata are exactly ours. Raises CacheError naming the
    field that is not.
    """
    shape, (dtype, axes) = meta.get("shape"), KNOWN[name]
    if (
        not isinstance(shape, list)
        or len(shape) != len(axes)
        or not all(type(n) is int and n > 0 for n in shape)
    ):
        raise CacheError(f"{path}: shape {shape!r:.100} is not {len(axes)} positive sizes")
    if shape[0] > MAX_CLIPS or math.prod(shape[1:]) * dtype.itemsize > MAX_CLIP_BYTES:
        raise CacheError(f"{path}: shape {shape} is larger than any cache of unmask")
    found = {
        key: value for key, value in meta.items() if key != "shape" and not _optional(key, value)
    }
    for codec in CODECS:
        expected = _expected_metadata(name, tuple(shape), codec)
        wrong = [
            k
            for k in sorted(found.keys() | expected.keys())
            if canonical(found.get(k)) != canonical(expected.get(k))
        ]
        if not wrong:
            return tuple(shape), codec_of(name, codec)
        if wrong != ["codecs"]:
            break
    named = ", ".join(wrong)  # names of a forged file are of any length
    raise CacheError(f"{path}: {named:.300} not as unmask writes it; extract the video again")


def _optional(key: str, value: Any) -> bool:
    return (key == "attributes" and value == {}) or (key == "storage_transformers" and value == [])


def shard_name(name: str) -> str:
    """The only shard of an array, relative to the video's folder."""
    return f"{name}/c" + ".0" * len(KNOWN[name][1])
