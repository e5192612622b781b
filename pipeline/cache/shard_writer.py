"""The bytes of one array's shard file, as zarr-python would write them, without its machinery.

Zarr v3 sharding with one shard an array and one chunk a clip: the encoded chunks in order, then for
each chunk its place and length (two little-endian uint64), then the crc32c of these numbers. Ours
because zarr-python hands every chunk between threads, which took as long as compressing it; a test
compares the files byte by byte with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import google_crc32c
import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from unmask.pipeline.cache.row_delta import ROWS_FIRST, subtract_rows

Encoder = Callable[[NDArray], bytes]


def with_crc(chunk: NDArray) -> bytes:
    """Plain little-endian bytes and their crc32c."""
    data = np.ascontiguousarray(chunk).tobytes()
    return data + _crc32c(data)


def packed(level: int, rows: bool = False) -> Encoder:
    """zstd with its own checksum at a level, after the row differences of the compact codec where
    `rows`.
    """

    def encode(chunk: NDArray) -> bytes:
        plain = subtract_rows(chunk.transpose(ROWS_FIRST)) if rows else np.ascontiguousarray(chunk)
        return zstd.compress(plain, level, checksum=True)

    return encode


def shard_parts(array: NDArray, encode: Encoder) -> Iterator[bytes]:
    """The file in pieces: one chunk after the other, then the index."""
    places, at = np.empty((len(array), 2), "<u8"), 0
    for number in range(len(array)):
        chunk = encode(array[number : number + 1])
        places[number] = at, len(chunk)
        at += len(chunk)
        yield chunk
    index = places.tobytes()
    yield index + _crc32c(index)


def _crc32c(data: bytes) -> bytes:
    return google_crc32c.value(data).to_bytes(4, "little")
