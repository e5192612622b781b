"""Read a transport stream that is still being written, clip by clip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.decode.containers import check_size, decoder_limit
from unmask.pipeline.decode.frames import Converters, DecodedFrame, DecodedFrames
from unmask.pipeline.decode.rgb import read_aspect, read_rotation, square_size
from unmask.pipeline.decode.sequential import Tally, decode_all
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import Frames

# Bytes and microseconds that the demuxer may look at before the first picture.
PROBE = {"probesize": "2000000", "analyzeduration": "2000000"}
PAUSE = 0.05


class Growing:
    """A file object for the demuxer: at the end of the file it waits, and gives up after
    `patience` seconds.
    """

    def __init__(self, file: BinaryIO, patience: float) -> None:
        self.file, self.patience, self.waited, self.over = file, patience, 0.0, False

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        start = time.monotonic()
        while not data and not self.over:
            time.sleep(PAUSE)
            data = self.file.read(size)
            self.over = (
                not data and time.monotonic() - start > self.patience
            )  # it asks again at the end
        self.waited += time.monotonic() - start
        return data


class GrowingClips:
    """Clips of consecutive frames, one every `every` seconds, from an open recording. seen:
    seconds so far.
    """

    def __init__(self, container: InputContainer, config: PredictConfig, length: int) -> None:
        if not container.streams.video:
            raise VideoError("no_video_stream", "the recording holds no moving picture")
        self.container, self.every, self.length = container, config.every, length
        self.stream: VideoStream = container.streams.video[0]
        self.limits, self.seen, self.count = config.limits, 0.0, 0
        codec = self.stream.codec_context
        codec.options = decoder_limit(config.limits.max_pixels)
        codec.thread_count, codec.thread_type = 1, "NONE"

    def __iter__(self) -> Iterator[Frames]:
        pictures: list[DecodedFrame] = []
        times: list[float] = []
        opening: _Opening | None = None
        due = 0.0
        for frame in decode_all(self.container, self.stream, Tally()):
            time_ = self._time(frame)
            if opening is None:
                opening, due = self._open(frame, time_), time_
            self.seen, self.count = time_ - opening.time, self.count + 1
            if not pictures and time_ < due:
                continue
            if not pictures:
                due = time_ + self.every
            pictures.append(DecodedFrame(frame, opening.converters, *opening.size))
            times.append(time_)
            if len(pictures) == self.length:
                numbers = np.arange(self.count - self.length, self.count)
                yield DecodedFrames(pictures, numbers, np.array(times))
                pictures, times = [], []

    def _time(self, frame: av.VideoFrame) -> float:
        rate = float(self.stream.average_rate or 0) or 25.0
        return self.count / rate if frame.pts is None else float(frame.pts * self.stream.time_base)

    def _open(self, frame: av.VideoFrame, time_: float) -> _Opening:
        rotation, aspect = read_rotation(frame), read_aspect(self.stream)
        width, height = square_size(frame.width, frame.height, aspect)
        check_size(frame.width, frame.height, self.limits)
        check_size(width, height, self.limits)
        size = (width, height) if rotation % 180 else (height, width)
        return _Opening(time_, Converters(rotation), size)


@dataclass(frozen=True)
class _Opening:
    """What the first frame decides for all that follow.

    time: seconds of the first frame.
    size: height and width of the upright pictures, px.
    """

    time: float
    converters: Converters
    size: tuple[int, int]
