"""Pictures come in square pixels and in one size, whatever the file stores; the main stream is
read.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, draw_picture, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.rgb import square_size
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import Frames, VideoInfo

LIMITS = Limits()


def read(path: Path, numbers: list[int]) -> tuple[VideoInfo, Frames]:
    def clip(info: VideoInfo) -> tuple[VideoInfo, Frames]:
        return info, next(decode_clips(path, info, np.array([numbers])))

    return with_fallback(path, LIMITS, clip)


def difference(picture: np.ndarray, number: int, width: int, height: int) -> float:
    """Mean distance to the drawn picture, levels."""
    whole = draw_picture(number, 320, 240)
    truth = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return float(np.abs(picture.astype(int) - truth).mean())


def write_squeezed(path: Path, codec: str, size: tuple[int, int], aspect: Fraction) -> Path:
    """Pictures drawn at 320x240 and stored in another size, the aspect said by container and
    codec as far as each can.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(8):
            picture = cv2.resize(draw_picture(number, 320, 240), size, interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "codec, suffix",
    [
        ("libx264", ".mp4"),
        ("libx264", ".mkv"),
        ("libx264", ".ts"),
        ("mpeg4", ".avi"),
        ("mpeg2video", ".mpg"),
        ("libvpx-vp9", ".mp4"),  # a codec that cannot say it: a box of the container does
    ],
)
def test_pixels_come_out_square_wherever_the_aspect_is_written(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    aspect = Fraction(16, 9) / Fraction(160, 240) if codec == "mpeg2video" else Fraction(2)
    path = write_squeezed(tmp_path / f"v{suffix}", codec, (160, 240), aspect)
    info, clip = read(path, [0, 3])
    width = round(160 * float(aspect))
    assert (info.width, info.height) == (width, 240) and "anamorphic" in info.flags
    assert info.aspect == pytest.approx(float(aspect)) and info.stored == (160, 240)
    assert clip.size == (240, width) == clip.pixels.shape[1:3]
    truth = cv2.resize(draw_picture(3, 320, 240), (width, 240))
    assert np.abs(clip.pixels[1].astype(int) - truth).mean() < 14
    assert np.array_equal(clip.part(16, 20, 90, 80)[1], clip.pixels[1][20:80, 16:90])


def test_a_size_of_display_is_heeded(tmp_path: Path) -> None:
    """Matroska says how large a picture is shown; here 320x240 of 160x240 stored, put into a file
    that says nothing, at the cost of what it leaves empty.
    """
    path = write_squeezed(tmp_path / "v.webm", "libvpx-vp9", (160, 240), Fraction(2))
    stored = "b081a0ba81f0"  # PixelWidth, PixelHeight (RFC 9559, section 5.1.4.1.28)
    shown = "54b082014054ba81f0"  # DisplayWidth, DisplayHeight
    data, more = path.read_bytes(), len(bytes.fromhex(shown))
    empty = data.index(bytes.fromhex("ec01"))
    tracks = data.index(bytes.fromhex("1654ae6b"), empty) + 4
    entry = data.index(bytes.fromhex("ae01"), tracks) + 2
    longer = bytearray(data)
    longer[tracks] += more
    longer[entry + 6] += more
    longer[empty + 8] -= more
    changed = bytes(longer).replace(
        bytes.fromhex("e086" + stored), bytes.fromhex("e08f" + stored + shown)
    )
    assert len(changed) == len(data) + more
    path.write_bytes(changed[: empty + 9] + changed[empty + 9 + more :])
    info, clip = read(path, [0, 3])
    assert (info.width, info.height) == (320, 240) and "anamorphic" in info.flags
    assert difference(clip.pixels[1], 3, 320, 240) < 14


def test_pixels_that_are_taller_than_wide_make_the_picture_taller(tmp_path: Path) -> None:
    path = write_squeezed(tmp_path / "v.mp4", "libx264", (320, 120), Fraction(1, 2))
    info, clip = read(path, [2])
    assert (info.width, info.height) == (320, 240)
    assert difference(clip.pixels[0], 2, 320, 240) < 14


def test_a_turned_anamorphic_picture_is_widened_before_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 240, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        stream.set_display_rotation(90)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(160, 240, "yuv420p")))
        container.mux(stream.encode(None))
    info, clip = read(path, [1])
    assert (info.width, info.height) == (240, 320) and clip.pixels.shape[1:3] == (320, 240)


def test_nearly_square_pixels_are_square(tmp_path: Path) -> None:
    """Cutters write 1216:1215 and the like: not a pixel of such videos changes."""
    near = write_squeezed(tmp_path / "a.mp4", "libx264", (160, 240), Fraction(1216, 1215))
    square = write_squeezed(tmp_path / "b.mp4", "libx264", (160, 240), Fraction(1))
    (info, clip), (_, plain) = read(near, [0, 4]), read(square, [0, 4])
    assert info.aspect == 1 and "anamorphic" not in info.flags
    assert np.array_equal(clip.pixels, plain.pixels)


def test_square_size_only_ever_enlarges() -> None:
    assert square_size(720, 576, 16 / 15) == (768, 576)
    assert square_size(720, 480, 8 / 9) == (720, 540)


def test_a_wide_picture_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    path = write_squeezed(tmp_path / "v.mp4", "libx264", (160, 240), Fraction(2))
    with pytest.raises(VideoError, match="320x240") as caught:
        scan(path, Limits(max_side=300))
    assert caught.value.reason == "too_large"


def write_changing(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """A stretch of ten frames of each size, one behind the other in a transport stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuv420p"
        for part, size in enumerate(sizes):
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.options = {"x264-params": "keyint=10:bframes=0:repeat-headers=1", "crf": "10"}
            packets = []
            for number in range(10):
                picture = cv2.resize(
                    draw_picture(10 * part + number, 320, 240), size, interpolation=cv2.INTER_AREA
                )
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = 10 * part + number
                packets += encoder.encode(frame)
            for packet in [*packets, *encoder.encode(None)]:
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    "sizes", [[(320, 240), (160, 120), (160, 120)], [(160, 120), (320, 240), (160, 120)]]
)
def test_a_picture_that_changes_its_size_is_scaled_to_the_usual_one(
    sizes: list[tuple[int, int]], tmp_path: Path
) -> None:
    path = write_changing(tmp_path / "v.ts", sizes)
    info, clip = read(path, [3, 8, 9, 10, 11, 25])
    assert (info.width, info.height, info.frames) == (160, 120, 30)
    assert "mixed_sizes" in info.flags and info.largest == 320 * 240
    for number, picture in zip(clip.index.tolist(), clip.pixels, strict=True):
        assert difference(picture, number, 160, 120) < 14


def test_a_picture_that_changes_its_shape_has_a_reason(tmp_path: Path) -> None:
    path = write_changing(tmp_path / "v.ts", [(320, 240), (160, 240)])
    with pytest.raises(VideoError, match="from 320x240 to 160x240") as caught:
        scan(path, LIMITS, planned=False)
    assert caught.value.reason == "mixed_sizes"


def test_the_change_is_seen_though_no_clip_lies_on_it(tmp_path: Path) -> None:
    """Planned decoding of frames of the second size only: scan promised the first."""
    path = write_changing(tmp_path / "v.ts", [(320, 240), (160, 120), (160, 120)])
    info, clip = read(path, [22, 23])
    assert info.method == "sequential" and clip.pixels.shape[1:3] == (120, 160)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("default", [0, 1])
def test_of_two_streams_the_default_one_is_read(default: int, suffix: str, tmp_path: Path) -> None:
    path, sizes = tmp_path / f"v{suffix}", ((64, 48), (320, 240))
    with av.open(str(path), "w") as container:
        streams = []
        for at, size in enumerate(sizes):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = av.stream.Disposition.default if at == default else 0
            streams.append(stream)
        for stream, size in zip(streams, sizes, strict=True):
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame(*size, "yuv420p")))
            container.mux(stream.encode(None))
    info, clip = read(path, [1])
    assert (info.width, info.height) == sizes[default] and clip.size == sizes[default][::-1]


def test_without_a_default_the_larger_stream_is_read(tmp_path: Path) -> None:
    path = tmp_path / "v.ts"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((64, 48), (160, 120)), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(5):
            for stream in streams:
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert scan(path, LIMITS).width == 160


def test_plain_videos_say_nothing_of_it(tmp_path: Path) -> None:
    info = scan(write_video(tmp_path / "v.mp4", Recipe()), LIMITS)
    assert info.flags == () and info.aspect == 1 and info.largest == 160 * 120
    assert (info.transfer, info.primaries, info.matrix, info.full_range) == ("", "", "", False)
