"""The videos that the benchmarks read: real ones of UNMASK_TEST_DATA played to and fro, else drawn
ones.

Encoded by x264 with its own defaults at crf 23 (a keyframe every 250 frames, three B frames), as
FaceForensics++ was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, cycle, islice
from pathlib import Path

import av

from unmask.pipeline.demo.drawing import draw_frames, draw_identity

RATE = 25
FRAMES = 420  # 17 s
SIZES = {"1080p": (1920, 1080), "720p": (1280, 720)}
FORMATS = {"4:2:0": "yuv420p", "4:4:4": "yuv444p"}
TALKING, CROWD = "real_single_1080p_h264.mp4", "real_crowd_1080p_h264_aac.mp4"


@dataclass(frozen=True)
class Clip:
    """One video of the benchmarks: name for the table, file, and what it shows."""

    name: str
    path: Path
    about: str


def real_folder() -> Path | None:
    """Folder of the real videos, None where UNMASK_TEST_DATA does not name one."""
    root = os.environ.get("UNMASK_TEST_DATA", "")
    folder = Path(root) / "videos"
    return folder if root and folder.is_dir() else None


def make(
    scratch: Path, size: str, chroma: str, *, source: str = TALKING, keyint: int = 250
) -> Clip:
    """A video of FRAMES frames; made once per scratch folder."""
    real = real_folder()
    kind = source.split("_")[1] if real else "drawn"
    path = scratch / f"{kind}_{size}_{FORMATS[chroma]}_g{keyint}.mp4"
    if not path.exists():
        frames = _played(real / source) if real else _drawn(SIZES[size])
        _encode(path, islice(frames, FRAMES), SIZES[size], FORMATS[chroma], keyint)
    about = f"{'real' if real else 'drawn'} {kind} video, {FRAMES} frames, crf 23, keyint {keyint}"
    return Clip(f"{size} {chroma}", path, about)


def loop(clip: Clip, times: int) -> Clip:
    """The same packets again and again: a long video without encoding one."""
    path = clip.path.with_stem(f"{clip.path.stem}_x{times}")
    if not path.exists():
        partial = path.with_suffix(".partial.mp4")
        with av.open(str(partial), "w") as target, av.open(str(clip.path)) as source:
            stream = source.streams.video[0]
            packets = [p for p in source.demux(stream) if p.size]
            span = FRAMES * packets[0].duration
            target.add_stream_from_template(stream)
            for number in range(times):
                for packet in packets:
                    target.mux(_moved(packet, number * span, target.streams.video[0]))
        partial.rename(path)
    return Clip(f"{clip.name} x {times}", path, f"{clip.about}, {times} times in a row")


def _moved(packet: av.Packet, ticks: int, stream: av.VideoStream) -> av.Packet:
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration = packet.pts + ticks, packet.dts + ticks, packet.duration
    copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, stream
    return copy


def _played(path: Path) -> Iterator[av.VideoFrame]:
    """Frames of a real video forwards and backwards without end."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        frames = list(container.decode(video=0))
    return cycle(chain(frames, frames[-2:0:-1]))


def _drawn(size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    pictures = draw_frames(draw_identity(7), FRAMES, size, seed=7)
    return (av.VideoFrame.from_ndarray(picture, format="rgb24") for picture, _ in pictures)


def _encode(
    path: Path, frames: Iterator[av.VideoFrame], size: tuple[int, int], pixels: str, keyint: int
) -> None:
    partial = path.with_suffix(".partial.mp4")
    reformat = av.video.reformatter.VideoReformatter().reformat
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "g": str(keyint)})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for number, frame in enumerate(frames):
            picture = reformat(frame, width=size[0], height=size[1], format=pixels)
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, RATE), 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    partial.rename(path)
