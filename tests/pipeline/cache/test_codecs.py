"""The table of codecs: every name is offered everywhere, and what one cannot decode is an error
that says so.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numcodecs import zstd

from unmask.commands.extract import command
from unmask.pipeline.cache.codecs import CODECS, codec_of
from unmask.pipeline.config import CodecName


def test_each_codec_has_its_name_and_is_offered_by_the_settings_and_the_command() -> None:
    assert set(CODECS) == set(get_args(CodecName))
    assert all(crops.name == name for name, (crops, _) in CODECS.items())
    (option,) = (one for one in command.params if one.name == "codec")
    assert set(option.type.choices) == set(CODECS)


@pytest.mark.parametrize("array", ["crops", "bands", "masks"])
@pytest.mark.parametrize("codec", CODECS)
def test_what_was_encoded_is_decoded_in_the_codecs_own_order(codec: str, array: str) -> None:
    clip = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    stored = codec_of(array, codec)
    data = np.frombuffer(stored.encode(clip[None]), np.uint8)
    if stored.decode is None:
        assert data[:-4].tobytes() == clip.tobytes()
        return
    order = stored.order or (0, 1, 2, 3)
    out = np.empty([clip.shape[axis] for axis in order], np.uint8)
    stored.decode(data, out)
    np.testing.assert_array_equal(out, clip.transpose(order))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x28\xb5\x2f\xfd",
        zstd.compress(bytes(96), 1, checksum=False),
        zstd.compress(bytes(97), 1, checksum=True),
        zstd.compress(bytes(range(96)), 1, checksum=True)[:-1] + b"\0",
    ],
)
def test_bytes_that_are_no_checksummed_frame_of_that_size_are_refused(data: bytes) -> None:
    for codec in ("zstd", "compact"):
        decode = codec_of("crops", codec).decode
        assert decode is not None
        with pytest.raises(ValueError):
            decode(np.frombuffer(data, np.uint8), np.empty((4, 2, 3, 4), np.uint8))
