"""Frames through a real encoder and back, in memory: H.264, H.265, VP9 and AV1 as PyAV carries
them.

One thread and 4:2:0, so that equal frames give equal frames. PyAV wheels differ in what they
carry, so every encoder is asked for by name before it is used.
"""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.clips.h264 import ROW
from unmask.pipeline.errors import UsageError


@dataclass(frozen=True)
class Encoder:
    """One way to encode.

    library: as FFmpeg calls the encoder. container: that holds its stream. most: largest constant
    rate factor. options: of speed and of one thread.
    """

    library: str
    container: str
    most: int
    options: dict[str, str]


# name -> encoder, at speeds that a sharing site could afford; equal frames give equal bytes.
ENCODERS = {
    "H.264": Encoder("libx264", "mp4", 51, {"preset": "veryfast", "threads": "1"}),
    "H.265": Encoder(
        "libx265",
        "mp4",
        51,
        {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    ),
    "VP9": Encoder(
        "libvpx-vp9",
        "webm",
        63,
        {"b": "0", "deadline": "good", "cpu-used": "5", "threads": "1"},
    ),
    "AV1": Encoder("libsvtav1", "mp4", 63, {"preset": "10", "svtav1-params": "lp=1"}),
}


@dataclass(frozen=True)
class Coding:
    """How frames are encoded.

    encoder: of ENCODERS. crf: constant rate factor, None with a bit rate. bits: per second, in two
    passes (H.264 only). profile: of H.264, "" for the encoder's choice.
    """

    encoder: str
    crf: int | None = None
    bits: int = 0
    profile: str = ""

    def __post_init__(self) -> None:
        most = ENCODERS[self.encoder].most
        if (self.crf is None) != (self.bits > 0):
            raise UsageError("an encoding has either a constant rate factor or a bit rate")
        if self.crf is not None and not 0 <= self.crf <= most:
            raise UsageError(f"{self.encoder}: crf {self.crf} is outside 0..{most}")
        if self.encoder != "H.264" and (self.bits or self.profile):
            raise UsageError(f"{self.encoder}: a bit rate and a profile are H.264's here")


def lacking(name: str) -> str:
    """Why this machine cannot encode so; "" when it can."""
    library = ENCODERS[name].library
    try:
        av.Codec(library, "w")
    except av.codec.codec.UnknownCodecError:
        return f"the installed PyAV {av.__version__} has no {name} encoder ({library})"
    return ""


def transcode(frames: NDArray[np.uint8], coding: Coding, fps: float) -> NDArray[np.uint8]:
    """(L,H,W,3) uint8 RGB -> the same shape after encoding and decoding.

    fps: frames a second, which a bit rate is spread over. The border pixels go on to a multiple of
    128 px, which is cut off again: see h264.
    Raises UsageError where PyAV lacks the encoder.
    """
    if why := lacking(coding.encoder):
        raise UsageError(why)
    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (0, -height % ROW), (0, -width % ROW), (0, 0)), mode="edge")
    rate = Fraction(fps).limit_denominator(1001)
    if coding.crf is not None:
        file = _encoded(padded, coding, rate, {"crf": str(coding.crf)})
    else:
        with tempfile.TemporaryDirectory(prefix="unmask-passes-") as folder:
            for turn in (1, 2):
                stats = f"pass={turn}:stats={Path(folder) / 'stats'}"
                file = _encoded(padded, coding, rate, {"x264-params": stats})
    file.seek(0)
    with av.open(file, "r") as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if len(shown) != len(frames):
        raise RuntimeError(f"{coding}: {len(frames)} frames went in, {len(shown)} came out")
    return np.stack(shown)[:, :height, :width]


def _encoded(
    frames: NDArray[np.uint8], coding: Coding, rate: Fraction, more: dict[str, str]
) -> io.BytesIO:
    # SVT-AV1 writes to standard error otherwise; it looks once, at its first use.
    os.environ.setdefault("SVT_LOG", "1")
    encoder = ENCODERS[coding.encoder]
    file = io.BytesIO()
    with av.open(file, "w", format=encoder.container) as container:
        stream = container.add_stream(encoder.library, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        if coding.bits:
            stream.bit_rate = coding.bits
        profile = {"profile": coding.profile} if coding.profile else {}
        stream.options = encoder.options | profile | more
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file
