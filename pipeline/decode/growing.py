"""Read a transport stream that is still being written, clip by clip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.decode.containers import check_size, decoder_limit
from unmask.pipeline.decode.rgb import Converter, read_rotation, upright_size
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
        converter, first, due, shape = None, 0.0, 0.0, (0, 0)
        pictures, numbers, times = np.empty(0), [], []
        for frame in decode_all(self.container, self.stream, Tally()):
            stamp = self._stamp(frame)
            if converter is None:
                converter, first, due, shape = self._begin(frame, stamp)
            self.seen, self.count = stamp - first, self.count + 1
            if not numbers and stamp >= due:
                pictures = np.empty((self.length, shape[1], shape[0], 3), np.uint8)
                due = stamp + self.every
            elif not numbers:
                continue
            converter.write(frame, pictures[len(numbers)])
            numbers.append(self.count - 1)
            times.append(stamp)
            if len(numbers) == self.length:
                yield Frames(pictures, np.array(numbers, np.int64), np.array(times))
                numbers, times = [], []

    def _stamp(self, frame: av.VideoFrame) -> float:
        rate = float(self.stream.average_rate or 0) or 25.0
        return self.count / rate if frame.pts is None else float(frame.pts * self.stream.time_base)

    def _begin(
        self, frame: av.VideoFrame, stamp: float
    ) -> tuple[Converter, float, float, tuple[int, int]]:
        rotation = read_rotation(frame)
        check_size(frame.width, frame.height, self.limits)
        return Converter(rotation), stamp, stamp, upright_size(frame, rotation)
