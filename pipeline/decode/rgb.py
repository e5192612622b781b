"""Decoded frames of any pixel format come in, upright uint8 RGB goes out.

Colour is converted by swscale through PyAV, once and everywhere the same way, by the matrix and
range that the frame itself states (BT.601 limited where it states none, as ffmpeg and OpenCV do).
Plain 8-bit 4:2:0 takes swscale's direct path, the one that ffmpeg users get by default: chroma
repeated, up to 4 levels from the formula, 1.2 too dark on average. Every other YUV goes through
planar RGB with exact rounding: within 2 levels and without bias; for 4:4:4 at 1280x720 that
conversion took 2.0 ms against 6.0 ms of the direct path. The exact way would cost 4:2:0 about 2.0
ms more a frame at 720x1364 and 4.6 ms at 1920x1080 (one core, measured once): as much as decoding
it. Alpha is dropped, not blended. Interlacing stays as stored. PQ and HLG are tone-mapped
(tone_map.py). Pixels that are not square are made so by making the shorter side longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.decode.containers import side_data_of
from unmask.pipeline.decode.tone_map import is_high_range, to_bt709
from unmask.pipeline.errors import VideoError

_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_DIRECT = ("yuv420p", "yuvj420p")
_MOST_ASPECT = 8.0  # a pixel longer than that is a damaged header
_UNSPECIFIED = 2  # H.273: in all three tables
# Coded angles come from floating-point trigonometry in 16.16 fixed point: half a degree is far
# above its rounding.
_ANGLE_TOLERANCE = 0.5


class Converter:
    """Write frames as upright RGB into arrays; one for all frames of a video, so that swscale is
    set up once.
    """

    def __init__(self, rotation: int) -> None:
        self._turns = rotation // 90
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        """Convert one frame into out (H, W, 3) uint8 RGB, turned upright as `rotation` says and
        scaled to `out` where its size or its pixels' shape is another.

        Raises VideoError unsupported_codec for a pixel format that swscale cannot read.
        """
        stored = self._high_range(frame) if is_high_range(frame.color_trc) else self._rgb(frame)
        upright = np.rot90(stored, self._turns)
        if upright.shape != out.shape:
            upright = _scaled(upright, out.shape[1], out.shape[0])
        out[:] = upright

    def _rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """As stored, (H, W, 3)."""
        if not _needs_planar(frame.format):
            rgb = self._reformat(frame, "rgb24", Interpolation.BILINEAR)
            return plane_rows(rgb.planes[0], rgb.width * 3).reshape(rgb.height, rgb.width, 3)
        rgb = self._reformat(frame, "gbrp", _EXACT)
        green, blue, red = (plane_rows(plane, rgb.width) for plane in rgb.planes)
        return cv2.merge((red, green, blue))

    def _high_range(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """The same of a frame in PQ or HLG."""
        rgb = self._reformat(frame, "gbrp16le", _EXACT)  # swscale breaks rgb48le in this way
        green, blue, red = (
            np.frombuffer(plane, "<u2").reshape(rgb.height, -1)[:, : rgb.width]
            for plane in rgb.planes
        )
        codes = cv2.merge((red, green, blue))
        return to_bt709(codes, int(frame.color_trc), int(frame.color_primaries))

    def _reformat(self, frame: VideoFrame, target: str, way: Interpolation) -> VideoFrame:
        try:
            return self._reformatter.reformat(frame, format=target, interpolation=way, threads=1)
        except MemoryError:  # FFmpeg's ENOMEM is both
            raise VideoError(
                "out_of_memory", f"converting a picture of {frame.width}x{frame.height} px"
            ) from None
        except FFmpegError:
            name = frame.format.name
            raise VideoError(
                "unsupported_codec", f"pixel format {name} cannot be converted to RGB"
            ) from None


def _scaled(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    smaller = width * height < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)


def plane_rows(plane: VideoPlane, length: int) -> NDArray[np.uint8]:
    """The plane's bytes as (H, length) without the padding at the end of each row."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, :length]


def _needs_planar(form: VideoFormat) -> bool:
    """Any YUV but plain 8-bit 4:2:0; RGB, gray and palettes have nothing to round."""
    return not (form.name in _DIRECT or form.is_rgb or form.has_palette or len(form.components) < 3)


def read_rotation(frame: VideoFrame) -> int:
    """Degrees, counter-clockwise, that turn the stored picture upright: 0, 90, 180 or 270.

    From the frame's display matrix (a, b, u, c, d, v, x, y, w): its angle is -atan2(b, a), and a
    negative determinant a*d - b*c is a mirror, which `frame.rotation` alone cannot tell.
    Raises VideoError unsupported_rotation for a mirror or an angle that is not a multiple of 90.
    """
    angle, mirrored = _read_matrix(frame)
    quarter = round(angle / 90) * 90
    if mirrored:
        raise VideoError(
            "unsupported_rotation", "the display matrix mirrors the picture; write it upright first"
        )
    if abs(angle - quarter) > _ANGLE_TOLERANCE:
        raise VideoError(
            "unsupported_rotation",
            f"the display matrix turns by {angle:.1f} degrees, not by quarters",
        )
    return quarter % 360


def _read_matrix(frame: VideoFrame) -> tuple[float, bool]:
    try:
        kinds = side_data_of(frame)
    except ValueError:
        # PyAV cannot list the side data of a frame that carries a kind it does not know (EXIF of a
        # JPEG).
        return float(frame.rotation), False
    if Type.DISPLAYMATRIX not in kinds:
        return 0.0, False
    matrix = np.frombuffer(kinds[Type.DISPLAYMATRIX], np.int32)
    if not matrix.any():
        return 0.0, False
    a, b, c, d = (float(matrix[at]) for at in (0, 1, 3, 4))
    return -math.degrees(math.atan2(b, a)), a * d - b * c <= 0


def upright_size(frame: VideoFrame, rotation: int) -> tuple[int, int]:
    """Width and height in px after the turn."""
    return (frame.height, frame.width) if rotation % 180 else (frame.width, frame.height)


def read_aspect(stream: VideoStream) -> float:
    """Width over height of one pixel, 1.0 where nobody says, or within 1 % of square, or nonsense.

    The container's word counts before the codec's, as in every player; libavformat makes it of
    Matroska's display size, of the mp4's `pasp` or track size, and of AVI's `vprp`.
    """
    told = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    aspect = float(told) if told else 1.0
    square = abs(aspect - 1) < 0.01 or not 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT
    return 1.0 if square else aspect


def square_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Size in square pixels, px: the side along which pixels are longer is made longer."""
    if aspect >= 1:
        return round(width * aspect), height
    return width, round(height / aspect)


@dataclass(frozen=True)
class Colour:
    """What a frame says of its colours, names of H.273 as FFmpeg calls them, "" where it is silent.

    matrix, transfer, primaries: matrix_coefficients, transfer_characteristics, colour_primaries.
    full_range: whether 0 and 255 are black and white.
    """

    matrix: str
    transfer: str
    primaries: str
    full_range: bool


def read_colour(frame: VideoFrame) -> Colour:
    """Matrix, transfer, primaries and range that a frame states; "" for what it does not state."""

    def name(kind: type[IntEnum], value: int) -> str:
        known = {int(member): member.name.lower() for member in kind}
        return "" if value == _UNSPECIFIED else known.get(int(value), f"number {int(value)}")

    return Colour(
        name(Colorspace, frame.colorspace),
        name(ColorTrc, frame.color_trc),
        name(ColorPrimaries, frame.color_primaries),
        int(frame.color_range) == int(ColorRange.JPEG),
    )
