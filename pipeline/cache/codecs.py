"""The codecs a clip may be stored with: bytes, Zarr metadata and memory layout of each, in one
table.

To add one: an entry in CODECS and its name in config.CodecName. The tests of this folder run over
the table: files equal to zarr-python's, damage found, clips equal to what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec

from unmask.pipeline.cache.row_delta import ROWS_FIRST, RowDelta, add_rows, subtract_rows

# Of the default codec for crops. Measured on real faces beside PNG folders read with OpenCV (0.44
# of raw): level 1 is 0.61 of raw and read 6 to 7 times as fast, level -1 is 0.68 and 9 times; who
# wants small takes compact, 0.27.
FAST_LEVEL = -1

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Codec:
    """How the clips of one array are stored.

    name: as `--codec` takes it.
    encode: one chunk, (1, *clip), as the bytes that the metadata describe.
    decode: fills a contiguous clip, its axes in `order`, from (n,) uint8 bytes; ValueError where
        they are not such a clip, or their checksum does not match. None where the bytes are the
        clip itself and its crc32c: such are read without a copy.
    zarr_pipeline: zarr's (filters, compressors); the checksum is always the outermost.
    order: axes of a clip as they lie in memory, None for their own order.
    """

    name: str
    encode: Callable[[NDArray], bytes]
    decode: Callable[[NDArray[np.uint8], NDArray], None] | None
    zarr_pipeline: Callable[[], tuple[list[Any] | None, list[Any]]]
    order: tuple[int, ...] | None = None


def crc32c(data: bytes) -> bytes:
    """Four little-endian bytes, as Zarr appends them."""
    return google_crc32c.value(data).to_bytes(4, "little")


def _plain() -> Codec:
    """Little-endian bytes and their crc32c."""

    def encode(chunk: NDArray) -> bytes:
        data = np.ascontiguousarray(chunk).tobytes()
        return data + crc32c(data)

    return Codec("none", encode, None, lambda: (None, [Crc32cCodec()]))


def _zstd(level: int) -> Codec:
    """One zstd frame with its own checksum."""

    def encode(chunk: NDArray) -> bytes:
        return zstd.compress(np.ascontiguousarray(chunk), level, checksum=True)

    return Codec("zstd", encode, _unpack, lambda: (None, [ZstdCodec(level=level, checksum=True)]))


def _compact() -> Codec:
    """zstd of the differences between neighbouring rows of all frames of a clip (row_delta.py)."""

    def encode(chunk: NDArray) -> bytes:
        return zstd.compress(subtract_rows(chunk.transpose(ROWS_FIRST)), 1, checksum=True)

    def decode(data: NDArray[np.uint8], out: NDArray) -> None:
        _unpack(data, out)
        add_rows(out)

    def pipeline() -> tuple[list[Any], list[Any]]:
        return [TransposeCodec(order=ROWS_FIRST), RowDelta()], [ZstdCodec(level=1, checksum=True)]

    order = tuple(axis - 1 for axis in ROWS_FIRST if axis)  # a clip has no chunk axis
    return Codec("compact", encode, decode, pipeline, order)


def _unpack(data: NDArray[np.uint8], out: NDArray) -> None:
    if _content_size(data[:18].tobytes()) != out.nbytes:
        raise ValueError(f"not one checksummed zstd frame of {out.nbytes} bytes")
    try:
        zstd.decompress(data, out)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _content_size(header: bytes) -> int:
    """Decoded bytes a zstd frame announces (RFC 8878, section 3.1.1), -1 unless it is one with a
    checksum.

    numcodecs would fill only part of the buffer, or decode unchecked, where a damaged header says
    so.
    """
    if len(header) < 6 or header[:4] != ZSTD_MAGIC:
        return -1
    flags = header[4]
    single, checksum, dictionary = flags >> 5 & 1, flags >> 2 & 1, flags & 3
    width = (single, 2, 4, 8)[flags >> 6]
    if not checksum or dictionary or flags & 0b11000 or not width:
        return -1
    start = 5 + (1 - single)
    size = int.from_bytes(header[start : start + width], "little")
    return size + 256 if width == 2 else size


# `--codec` -> how crops are stored, and how the other arrays (bands, masks) are.
CODECS: dict[str, tuple[Codec, Codec]] = {
    "zstd": (_zstd(FAST_LEVEL), _zstd(1)),
    "none": (_plain(), _plain()),
    "compact": (_compact(), _zstd(1)),
}


def codec_of(array: str, codec: str) -> Codec:
    """How one array is stored in a video of this `--codec`."""
    crops, others = CODECS[codec]
    return crops if array == "crops" else others
