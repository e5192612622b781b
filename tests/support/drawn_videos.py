"""Small drawn videos in every codec and container that decode must read, and a plain reference
decode of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from unmask.pipeline.decode.containers import open_input

RATE = 25


def draw_picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A moving gradient, a moving bright square and the frame number as 12 black or white blocks:
    (H, W, 3) uint8.
    """
    y, x = np.mgrid[0:height, 0:width]
    waves = (x + 3 * number, 2 * y + number, np.full_like(x, number * 11))
    picture = np.stack([wave % 256 for wave in waves], axis=-1).astype(np.uint8)
    left, top = (number * 5) % (width - 24), (number * 3) % (height - 24)
    picture[top : top + 20, left : left + 20] = (250, 240, 40)
    block = width // 16
    for bit in range(12):
        picture[:8, bit * block : (bit + 1) * block] = 255 * (number >> bit & 1)
    return picture


@dataclass(frozen=True)
class Recipe:
    """How to write one video.

    ticks: pts of each frame in 1/RATE s, None for 0, 1, 2, ...
    rotation: degrees, hflip, vflip of the display matrix.
    """

    codec: str = "libx264"
    suffix: str = ".mp4"
    pixels: str = "yuv420p"
    frames: int = 60
    size: tuple[int, int] = (160, 120)
    options: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    ticks: tuple[int, ...] | None = None
    rotation: tuple[float, bool, bool] | None = None
    interlaced: bool = False


def write_video(path: Path, recipe: Recipe, frames: Sequence[av.VideoFrame] | None = None) -> Path:
    """Encode the drawn pictures, or the given frames, as the recipe says."""
    width, height = recipe.size
    with av.open(str(path), "w", options=recipe.muxer) as container:
        stream = container.add_stream(recipe.codec, rate=RATE, options=dict(recipe.options))
        stream.width, stream.height, stream.pix_fmt = width, height, recipe.pixels
        if frames:
            stream.codec_context.colorspace = frames[0].colorspace
            stream.codec_context.color_range = frames[0].color_range
        if recipe.interlaced:
            stream.codec_context.flags |= Flags.interlaced_dct.value | Flags.interlaced_me.value
        if recipe.rotation is not None:
            degrees, hflip, vflip = recipe.rotation
            stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        for number in range(recipe.frames):
            frame = frames[number] if frames else _drawn_frame(number, width, height)
            frame.pts = number if recipe.ticks is None else recipe.ticks[number]
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _drawn_frame(number: int, width: int, height: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(draw_picture(number, width, height), format="rgb24")


def decode_plainly(path: Path) -> list[av.VideoFrame]:
    """Every frame in display order by the plainest loop there is: one packet after the other,
    errors stepped over.
    """
    found: list[av.VideoFrame] = []
    with open_input(str(path), {}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while True:
            packet = None
            with contextlib.suppress(av.error.FFmpegError):
                packet = next(packets, None)
            last = packet is None or (not packet.size and packet.pts is None)
            with contextlib.suppress(av.error.FFmpegError):
                found += stream.codec_context.decode(None if last else packet)
            if last:
                break
        for frame in found:
            frame.time_base = stream.time_base
    return found
