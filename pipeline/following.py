"""A recording that still grows comes in, verdicts go out as it does.

The transport stream is read by one demuxer that waits at the end of the file for more, so that nothing is decoded
twice. One clip of consecutive frames is taken every so many seconds and goes the road of a dense timeline.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.calibration import calibrate
from pipeline.config import PredictConfig
from pipeline.containers import check_size, decoder_limit, open_input, read_head
from pipeline.errors import UsageError, VideoError
from pipeline.pixels import Converter, read_rotation, upright_size
from pipeline.predict import judge, stretches
from pipeline.records import Frames
from pipeline.scorers import Scorer
from pipeline.tables import number
from pipeline.timeline import Watch
from pipeline.verdicts import Prediction
from pipeline.walks import Tally, decode_all

# Clips that are scored together: persons other than the main one count when two of these show them.
TOGETHER = 4
EVERY = 1.0  # seconds between clips unless --every says otherwise

# Bytes and microseconds that the demuxer may look at before the first picture.
PROBE = {"probesize": "2000000", "analyzeduration": "2000000"}
PAUSE = 0.05


@dataclass(frozen=True)
class Update:
    """Where the recording stands. time: seconds seen.   now: calibrated score of the newest clips, None without a
    face.   work: seconds spent on it, waiting left out.   prediction: the verdict on all of it so far.
    """

    time: float
    now: float | None
    work: float
    prediction: Prediction

    @property
    def ratio(self) -> float:
        """Seconds of recording per second of work."""
        return self.time / max(self.work, 1e-9)

    def line(self) -> str:
        p = self.prediction
        minutes, seconds = divmod(int(self.time), 60)
        return (
            f"{minutes:02}:{seconds:02}  {p.verdict:<8} {number(p.score)}  now {number(self.now)}  "
            f"persons {len(p.tracks)}  {self.ratio:.1f} x real time"
        )


class Growing:
    """A file object for the demuxer: at the end of the file it waits, and gives up after `patience` seconds."""

    def __init__(self, file: BinaryIO, patience: float) -> None:
        self.file, self.patience, self.waited, self.over = file, patience, 0.0, False

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        start = time.monotonic()
        while not data and not self.over:
            time.sleep(PAUSE)
            data = self.file.read(size)
            self.over = not data and time.monotonic() - start > self.patience  # it asks again at the end
        self.waited += time.monotonic() - start
        return data


def follow(path: Path, scorers: Sequence[Scorer], config: PredictConfig, patience: float) -> Iterator[Update]:
    """Read a growing .ts until nothing was added for `patience` seconds; an update for every few clips.

    Raises UsageError for another container, VideoError for a file that is not a video or changes its picture size.
    """
    if read_head(path)[:1] != b"G":
        raise UsageError(f"{path}: --follow reads transport streams (.ts); other containers are finished at the end")
    config = replace(config, every=config.every or EVERY)
    watch = Watch(scorers, config.batch, config.rule, dense=True)
    started = time.monotonic()
    with open(path, "rb") as file:
        source = Growing(file, patience)
        with open_input(source, PROBE, "mpegts") as container:
            clips = _Clips(container, config, scorers[0].crop.frames)
            for people, _ in stretches(iter(clips), scorers[0].crop, TOGETHER):
                before = [len(entry.points[0]) for entry in watch.seen]
                watch.add(people)
                work = time.monotonic() - started - source.waited
                yield _update(path, watch, scorers, clips, before, work)


def _update(
    path: Path, watch: Watch, scorers: Sequence[Scorer], clips: _Clips, before: list[int], work: float
) -> Update:
    tracks = tuple(track for _, track in watch.tracks())
    fresh = [
        point.score
        for number_, entry in enumerate(watch.seen)
        for point in entry.points[0][before[number_] if number_ < len(before) else 0 :]
    ]
    now = float(calibrate(np.float64(max(fresh)), scorers[0].calibration.temperature)) if fresh else None
    prediction = replace(judge(path, tracks, scorers), duration=clips.seen, frames=clips.count)
    return Update(clips.seen, now, work, prediction)


class _Clips:
    """Clips of consecutive frames, one every `every` seconds, from an open recording. seen: seconds so far."""

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

    def _begin(self, frame: av.VideoFrame, stamp: float) -> tuple[Converter, float, float, tuple[int, int]]:
        rotation = read_rotation(frame)
        check_size(frame.width, frame.height, self.limits)
        return Converter(rotation), stamp, stamp, upright_size(frame, rotation)
