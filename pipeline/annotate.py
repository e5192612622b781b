"""A video and its prediction come in, the same video with boxes, scores and a timeline goes out, its sound kept.

H.264 yuv420p in MP4 with the index in front, which every browser plays. The picture itself is untouched but for the
boxes: the timeline lies below it. Sound packets are copied where MP4 may hold them, else encoded as AAC.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard
from numpy.typing import NDArray

from pipeline import pictures
from pipeline.atomic import sync_folder
from pipeline.calibration import calibrate
from pipeline.config import Limits
from pipeline.containers import AV_ERRORS, open_video
from pipeline.decode import scan
from pipeline.pixels import Converter
from pipeline.strip import COLOURS, Strip
from pipeline.timeline import Track
from pipeline.verdicts import Prediction, decide
from pipeline.walks import Tally, decode_all

# Codecs of sound that MP4 holds and browsers play; others are encoded again.
COPIED = ("aac", "mp3", "mp3float", "opus", "flac")

# A box is carried from one seen place to the next only over this many seconds; beyond, it stays this long.
CARRIED, HELD = 3.0, 0.5

LEAST_WIDTH = 640  # px; smaller videos are enlarged so that names can be read
CLOCK = Fraction(1, 90_000)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Placed:
    """One box on one frame. seen: a clip was scored here, else the box is interpolated.   score: calibrated."""

    box: NDArray[np.float64]
    seen: bool
    score: float


def place(track: Track, time: float, frames: float, warm: NDArray[np.float64]) -> Placed | None:
    """Where a track is at a time, or None. frames: seconds that count as a clip around its anchor.

    warm: calibrated scores of its points, (P,).
    """
    pts, boxes = np.array(track.pts), np.array(track.box)
    after = int(np.searchsorted(pts, time))
    before = after - 1
    near = min((abs(pts[i] - time), i) for i in (before, after) if 0 <= i < len(pts))
    score = float(warm[nearest(track, time)])
    if before >= 0 and after < len(pts) and pts[after] - pts[before] <= CARRIED:
        share = (time - pts[before]) / (pts[after] - pts[before])
        box = boxes[before] * (1 - share) + boxes[after] * share
        return Placed(box, near[0] <= frames, score)
    return Placed(boxes[near[1]], near[0] <= frames, score) if near[0] <= HELD else None


def nearest(track: Track, time: float) -> int:
    """The point of the first member that lies nearest in time."""
    distance = [max(point.start - time, time - point.end, 0.0) for point in track.points[0]]
    return int(np.argmin(distance))


def annotate(prediction: Prediction, target: Path, limits: Limits) -> Path:
    """Write the annotated video and return its path; it appears whole, by one rename.

    Raises VideoError when the source cannot be read any more, or changes its picture size.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{target.stem[:80]}.mp4")
    try:
        _write(prediction, partial, limits)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(target.parent)
    return target


def _write(prediction: Prediction, partial: Path, limits: Limits) -> None:
    # A second scan: the planned listing gives exact times and the rotation, and costs no decoding.
    info = scan(prediction.path, limits)
    painter = Painter(prediction, info.width, info.height, float(info.pts[0]))
    with ExitStack() as stack:
        out = stack.enter_context(av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}))
        stream = out.add_stream("libx264", rate=Fraction(max(info.fps, 1.0)).limit_denominator(60_000))
        stream.width, stream.height, stream.pix_fmt = painter.width, painter.height, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "profile": "high"}
        stream.codec_context.time_base = CLOCK
        first = info.pts[0]
        sound = None
        if info.container == pictures.CONTAINER:
            frames = pictures.decode(prediction.path, info, np.arange(info.frames))
        else:
            source, video = stack.enter_context(open_video(prediction.path, limits.max_pixels))
            frames = enumerate(decode_all(source, video, Tally()))
            sound = _Sound.of(stack, prediction.path, limits, out, float(first))
        converter, pixels = Converter(info.rotation), np.empty((info.height, info.width, 3), np.uint8)
        for number, frame in frames:
            if number >= len(info.pts):
                break
            time = float(info.pts[number])
            converter.write(frame, pixels)
            made = av.VideoFrame.from_ndarray(painter.paint(pixels, time), format="rgb24")
            made.pts, made.time_base = round((time - first) / CLOCK), CLOCK
            if sound is not None:
                sound.until(time - float(first))
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))
        if sound is not None:
            sound.until(math.inf)


class _Sound:
    """The first sound stream of the source, fed into the output as far as the picture has come."""

    def __init__(self, source: InputContainer, stream: AudioStream, out: OutputContainer, first: float) -> None:
        self.out, self.first, self.base = out, first, stream.time_base
        self.copied = stream.codec_context.name in COPIED
        if self.copied:
            self.target = out.add_stream_from_template(stream)
            self.packets = self._copies(source, stream)
        else:
            self.target = out.add_stream("aac", rate=stream.rate or 48_000, layout="stereo")
            self.packets = self._encoded(source, stream)
        self.next: tuple[float, Packet] | None = None

    @classmethod
    def of(cls, stack: ExitStack, path: Path, limits: Limits, out: OutputContainer, first: float) -> _Sound | None:
        """None for a silent video, or one whose sound nobody here can decode."""
        source, _ = stack.enter_context(open_video(path, limits.max_pixels))
        for stream in source.streams.audio:
            if stream.codec_context is not None:
                stream.discard = Discard.default
                for other in source.streams:
                    if other.index != stream.index:
                        other.discard = Discard.all
                return cls(source, stream, out, first)
        return None

    def until(self, time: float) -> None:
        """Write the packets that start up to `time`, seconds from the first picture."""
        while True:
            self.next = self.next or next(self.packets, None)
            if self.next is None or self.next[0] > time:
                return
            packet, self.next = self.next[1], None
            self.out.mux(packet)

    def _copies(self, source: InputContainer, stream: AudioStream) -> Iterator[tuple[float, Packet]]:
        shift = round(self.first / stream.time_base)
        last = None
        for packet in _demuxed(source, stream):
            if packet.pts is None or packet.pts < shift or (last is not None and packet.pts <= last):
                continue  # before the first picture, or out of order, which MP4 cannot hold
            last = packet.pts
            packet.pts = packet.dts = packet.pts - shift
            packet.stream = self.target
            yield float(packet.pts * self.base), packet

    def _encoded(self, source: InputContainer, stream: AudioStream) -> Iterator[tuple[float, Packet]]:
        resampler = AudioResampler(format="fltp", layout="stereo", rate=self.target.rate)
        done = 0
        for packet in _demuxed(source, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except AV_ERRORS:
                continue
            for frame in (piece for f in frames for piece in resampler.resample(f)):
                frame.pts, frame.time_base = done, Fraction(1, self.target.rate)
                done += frame.samples
                yield from self._timed(self.target.encode(frame))
        yield from self._timed(self.target.encode(None))

    def _timed(self, packets: list[Packet]) -> Iterator[tuple[float, Packet]]:
        for packet in packets:
            yield float((packet.pts or 0) * packet.time_base), packet


def _demuxed(source: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    packets = source.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except AV_ERRORS:
            return
        if packet is None or packet.size == 0:
            return
        yield packet


class Painter:
    """Draws boxes on frames and puts the timeline below; every output frame is (height, width, 3) uint8 RGB."""

    def __init__(self, prediction: Prediction, width: int, height: int, first: float) -> None:
        self.prediction = prediction
        self.scale = max(1, math.ceil(LEAST_WIDTH / width))
        self.inner = (width * self.scale, height * self.scale)
        self.width = self.inner[0] + self.inner[0] % 2
        self.strip = Strip(prediction, self.width, first)
        self.top = self.inner[1] + self.inner[1] % 2
        self.height = self.top + self.strip.height
        self.clip = 2.5 / max(prediction.fps, 1.0)
        member = prediction.members[0]
        self.warm = [
            calibrate(np.array([p.score for p in t.points[0]]), member.calibration.temperature)
            for t in prediction.tracks
        ]
        self.unsure = member.calibration.unsure
        self.text = max(0.45, self.inner[0] / 1600)

    def paint(self, pixels: NDArray[np.uint8], time: float) -> NDArray[np.uint8]:
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        picture = pixels
        if self.scale > 1:
            picture = cv2.resize(pixels, self.inner, interpolation=cv2.INTER_CUBIC)
        canvas[: self.inner[1], : self.inner[0]] = picture
        view = canvas[: self.inner[1], : self.inner[0]]
        # the main person last, on top of the others
        for track, warm in reversed(list(zip(self.prediction.tracks, self.warm, strict=True))):
            found = place(track, time, self.clip, warm)
            if found is not None:
                self._box(view, track.number, found)
        canvas[self.top :] = self.strip.at(time)
        return canvas

    def _box(self, view: NDArray[np.uint8], number: int, found: Placed) -> None:
        colour = COLOURS[decide(found.score, self.unsure)]
        x1, y1, x2, y2 = (round(float(edge) * self.scale) for edge in found.box)
        line = max(2, round(self.inner[0] / 480))
        cv2.rectangle(view, (x1, y1), (x2, y2), colour, line if found.seen else max(1, line // 2), cv2.LINE_AA)
        label = f"{number + 1}: {found.score:.2f}"
        (wide, high), base = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, self.text, max(1, line // 2))
        left = min(max(x1, 0), max(self.inner[0] - wide - 8, 0))
        above = max(y1 - high - base - 6, 0)
        cv2.rectangle(view, (left, above), (left + wide + 8, above + high + base + 6), colour, -1)
        at = (left + 4, above + high + 4)
        cv2.putText(
            view, label, at, cv2.FONT_HERSHEY_SIMPLEX, self.text, (255, 255, 255), max(1, line // 2), cv2.LINE_AA
        )
