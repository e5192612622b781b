"""The bytes of one array's shard file, as zarr-python would write them, without its machinery.

Zarr v3 sharding with one shard an array and one chunk a clip: the encoded chunks in order, then for
each chunk its place and length (two little-endian uint64), then the crc32c of these numbers. Ours
because zarr-python hands every chunk between threads, which took as long as compressing it; a test
compares the files byte by byte with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.codecs import crc32c


def shard_parts(array: NDArray, encode: Callable[[NDArray], bytes]) -> Iterator[bytes]:
    """The file in pieces: one chunk after the other, then the index."""
    places, at = np.empty((len(array), 2), "<u8"), 0
    for number in range(len(array)):
        chunk = encode(array[number : number + 1])
        places[number] = at, len(chunk)
        at += len(chunk)
        yield chunk
    index = places.tobytes()
    yield index + crc32c(index)
