"""The codecs a clip of crops may be stored with."""

from __future__ import annotations

from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec

from unmask.pipeline.cache.row_delta import ROWS_FIRST, RowDelta
from unmask.pipeline.cache.shard_writer import Encoder, packed, with_crc

CODECS = ("zstd", "none", "compact")

# Of the default codec for crops. Measured on real faces beside PNG folders read with OpenCV (0.44
# of raw): level 1 is 0.61 of raw and read 6 to 7 times as fast, level -1 is 0.68 and 9 times; who
# wants small takes compact, 0.27.
FAST_LEVEL = -1


def encoder_for(name: str, codec: str) -> Encoder:
    """What makes a chunk's bytes as the array's metadata say (_pipeline)."""
    if codec == "none":
        return with_crc
    compact = codec == "compact" and name == "crops"
    return packed(level=FAST_LEVEL if name == "crops" and not compact else 1, rows=compact)


def zarr_pipeline(name: str, codec: str) -> tuple[list | None, list]:
    """zarr's (filters, compressors) of one array; the checksum is always the outermost."""
    if codec == "none":
        return None, [Crc32cCodec()]
    if codec == "compact" and name == "crops":
        return [TransposeCodec(order=ROWS_FIRST), RowDelta()], [ZstdCodec(level=1, checksum=True)]
    level = FAST_LEVEL if name == "crops" else 1
    return None, [ZstdCodec(level=level, checksum=True)]
