"""A video and its prediction come in, the same video with boxes, scores and a timeline goes out,
its sound kept.

H.264 yuv420p in MP4 with the index in front, which every browser plays. The picture itself is
untouched but for the
boxes: the timeline lies below it. Sound packets are copied where MP4 may hold them, else encoded as
AAC.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import Limits
from unmask.pipeline.decode import picture_folder
from unmask.pipeline.decode.containers import open_container
from unmask.pipeline.decode.rgb import Converter
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.sequential import Tally, decode_all
from unmask.pipeline.disk.files import refusals, replacing
from unmask.pipeline.prediction.person_scores import PersonScores
from unmask.pipeline.prediction.sound import Sound
from unmask.pipeline.prediction.timeline_strip import COLOURS, Strip
from unmask.pipeline.prediction.verdicts import Prediction

# A box is carried from one seen place to the next only over this many seconds; beyond, it stays
# this long.
CARRIED, HELD = 3.0, 0.5

LEAST_WIDTH = 640  # px; smaller videos are enlarged so that names can be read
CLOCK = Fraction(1, 90_000)
TOLD_EVERY = 50  # frames between two words about how far the film is

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Placed:
    """One box on one frame. seen: a clip was scored here, else the box is interpolated.

    score: calibrated.
    """

    box: NDArray[np.float64]
    seen: bool
    score: float


def place(
    track: PersonScores, time: float, frames: float, calibrated: NDArray[np.float64]
) -> Placed | None:
    """Where a track is at a time, or None. frames: seconds that count as a clip around its anchor.

    calibrated: calibrated scores of its points, (P,).
    """
    pts, boxes = np.array(track.pts), np.array(track.box)
    after = int(np.searchsorted(pts, time))
    before = after - 1
    near = min((abs(pts[i] - time), i) for i in (before, after) if 0 <= i < len(pts))
    score = float(calibrated[nearest(track, time)])
    if before >= 0 and after < len(pts) and pts[after] - pts[before] <= CARRIED:
        share = (time - pts[before]) / (pts[after] - pts[before])
        box = boxes[before] * (1 - share) + boxes[after] * share
        return Placed(box, near[0] <= frames, score)
    return Placed(boxes[near[1]], near[0] <= frames, score) if near[0] <= HELD else None


def nearest(track: PersonScores, time: float) -> int:
    """The point of the first member that lies nearest in time."""
    distance = [max(point.start - time, time - point.end, 0.0) for point in track.points[0]]
    return int(np.argmin(distance))


def annotate(
    prediction: Prediction,
    target: Path,
    limits: Limits,
    progress: Callable[[float], None] = lambda share: None,
) -> Path:
    """Write the annotated video and return its path; it appears whole, by one rename.

    progress: hears the share of the frames that was drawn, 0 to 1.
    Raises VideoError when the source cannot be read any more, or changes its picture size;
    DiskError when the file system refuses.
    """
    with refusals(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            _write(prediction, partial, limits, progress)
    return target


def _write(
    prediction: Prediction, partial: Path, limits: Limits, progress: Callable[[float], None]
) -> None:
    # A second scan: the planned listing gives exact times and the rotation, and costs no decoding.
    info = scan(prediction.path, limits)
    painter = Painter(prediction, info.width, info.height, float(info.pts[0]))
    with ExitStack() as stack:
        out = stack.enter_context(
            av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
        )
        stream = out.add_stream(
            "libx264", rate=Fraction(max(info.fps, 1.0)).limit_denominator(60_000)
        )
        stream.width, stream.height, stream.pix_fmt = painter.width, painter.height, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "profile": "high"}
        stream.codec_context.time_base = CLOCK
        first = info.pts[0]
        sound = None
        if info.container == picture_folder.CONTAINER:
            frames = picture_folder.decode(prediction.path, info, np.arange(info.frames))
        else:
            source, video = stack.enter_context(open_container(prediction.path, limits.max_pixels))
            frames = enumerate(decode_all(source, video, Tally()))
            sound = Sound.of(stack, prediction.path, limits, out, float(first))
        converter, pixels = (
            Converter(info.rotation),
            np.empty((info.height, info.width, 3), np.uint8),
        )
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
            if number % TOLD_EVERY == 0:
                progress(number / len(info.pts))
        out.mux(stream.encode(None))
        if sound is not None:
            sound.until(math.inf)


class Painter:
    """Draws boxes on frames and puts the timeline below; every output frame is (height, width, 3)
    uint8 RGB.
    """

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
        self.calibrated = [
            member.calibration.of(np.array([p.score for p in t.points[0]]))
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
        for track, calibrated in reversed(
            list(zip(self.prediction.tracks, self.calibrated, strict=True))
        ):
            found = place(track, time, self.clip, calibrated)
            if found is not None:
                self._box(view, track.number, found)
        canvas[self.top :] = self.strip.at(time)
        return canvas

    def _box(self, view: NDArray[np.uint8], number: int, found: Placed) -> None:
        colour = COLOURS[self.prediction.say(found.score, self.unsure)]
        x1, y1, x2, y2 = (round(float(edge) * self.scale) for edge in found.box)
        line = max(2, round(self.inner[0] / 480))
        cv2.rectangle(
            view, (x1, y1), (x2, y2), colour, line if found.seen else max(1, line // 2), cv2.LINE_AA
        )
        label = str(number + 1)
        if not self.prediction.withheld:
            label += f": {found.score:.2f}"
        (wide, high), base = cv2.getTextSize(
            label, cv2.FONT_HERSHEY_SIMPLEX, self.text, max(1, line // 2)
        )
        left = min(max(x1, 0), max(self.inner[0] - wide - 8, 0))
        above = max(y1 - high - base - 6, 0)
        cv2.rectangle(view, (left, above), (left + wide + 8, above + high + base + 6), colour, -1)
        at = (left + 4, above + high + 4)
        cv2.putText(
            view,
            label,
            at,
            cv2.FONT_HERSHEY_SIMPLEX,
            self.text,
            (255, 255, 255),
            max(1, line // 2),
            cv2.LINE_AA,
        )
