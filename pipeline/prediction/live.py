"""A recording that still grows comes in, verdicts go out as it does.

The transport stream is read by one demuxer that waits at the end of the file for more, so that
nothing is decoded twice. One clip of consecutive frames is taken every so many seconds and goes the
road of a dense timeline.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.decode.containers import open_input, read_head
from unmask.pipeline.decode.growing import PROBE, Growing, GrowingClips
from unmask.pipeline.errors import UsageError
from unmask.pipeline.prediction.predict import judge, stretches
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.prediction.timeline import Timeline
from unmask.pipeline.prediction.verdicts import Prediction
from unmask.pipeline.reports.tables import number

# Clips that are scored together: persons other than the main one count when two of these show them.
TOGETHER = 4
EVERY = 1.0  # seconds between clips unless --every says otherwise


@dataclass(frozen=True)
class Update:
    """Where the recording stands. time: seconds seen.

    now: calibrated score of the newest clips, None without a
    face.
    work: seconds spent on it, waiting left out.
    prediction: the verdict on all of it so far.
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
            f"{minutes:02}:{seconds:02}  {p.verdict:<8} {number(p.shown)}  "
            f"now {number(None if p.withheld else self.now)}  "
            f"persons {len(p.tracks)}  {self.ratio:.1f} x real time"
        )


def follow_recording(
    path: Path, scorers: Sequence[Scorer], config: PredictConfig, patience: float
) -> Iterator[Update]:
    """Read a growing .ts until nothing was added for `patience` seconds; an update for every few
    clips.

    Raises UsageError for another container, VideoError for a file that is not a video or changes
    its picture size.
    """
    if read_head(path)[:1] != b"G":
        raise UsageError(
            f"{path}: --follow reads transport streams (.ts); other containers are finished at "
            "the end"
        )
    config = replace(config, every=config.every or EVERY)
    watch = Timeline(scorers, config.batch, config.rule, dense=True)
    started = time.monotonic()
    with open(path, "rb") as file:
        source = Growing(file, patience)
        with open_input(source, PROBE, "mpegts") as container:
            clips = GrowingClips(container, config, scorers[0].crop.frames)
            for people, _ in stretches(iter(clips), scorers[0].crop, TOGETHER):
                watch.add(people)
                work = time.monotonic() - started - source.waited
                yield _update(path, watch, scorers, clips, work, config.anyway)


def _update(
    path: Path,
    watch: Timeline,
    scorers: Sequence[Scorer],
    clips: GrowingClips,
    work: float,
    anyway: bool,
) -> Update:
    tracks = tuple(track for _, track in watch.tracks())
    fresh = [point.score for point in watch.newest()]
    now = float(scorers[0].calibration.of(np.float64(max(fresh)))) if fresh else None
    judged = judge(path, tracks, scorers, anyway=anyway)
    prediction = replace(judged, duration=clips.seen, frames=clips.count)
    return Update(clips.seen, now, work, prediction)
