"""What discovery takes for a video the decoder opens, and what the decoder opens discovery
finds.
"""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.support.drawn_videos import draw_picture
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.formats import CONTAINERS
from unmask.pipeline.sources.listing import VIDEO_EXTENSIONS, list_media

# container -> (FFmpeg's muxer, a codec it takes, pixel format)
WRITERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", "mpeg4", "yuv420p"),
    "matroska,webm": ("matroska", "mpeg4", "yuv420p"),
    "avi": ("avi", "mpeg4", "yuv420p"),
    "mpegts": ("mpegts", "mpeg2video", "yuv420p"),
    "mpeg": ("mpeg", "mpeg2video", "yuv420p"),
    "gif": ("gif", "gif", "rgb8"),
    "flv": ("flv", "flv", "yuv420p"),
    "asf": ("asf", "wmv2", "yuv420p"),
    "ogg": ("ogg", "libvpx", "yuv420p"),
}
BY_EXTENSION = [
    (extension, container) for container, all_of in CONTAINERS.items() for extension in all_of
]


def draw(path: Path, muxer: str, codec: str, pixels: str) -> None:
    with av.open(str(path), "w", format=muxer) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(draw_picture(number, 96, 64), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("extension, container", BY_EXTENSION)
def test_every_extension_is_found_and_read_as_its_container(
    extension: str, container: str, tmp_path: Path
) -> None:
    path = tmp_path / f"CLIP{extension.upper()}"
    draw(path, *WRITERS[container])
    assert list_media(tmp_path).videos == [path.name]
    info = scan(path, Limits())
    assert (info.container, info.frames, info.width) == (container, 8, 96)


def test_extensions_belong_to_one_container_and_discovery_knows_exactly_these() -> None:
    assert len(BY_EXTENSION) == len(VIDEO_EXTENSIONS) == len(dict(BY_EXTENSION))
    assert frozenset(dict(BY_EXTENSION)) == VIDEO_EXTENSIONS
