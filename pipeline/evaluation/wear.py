"""What happens to a video between its maker and a viewer, done to whole frames before the face is
cut: codec ladders, resizing, platform chains, other frame rates, a filmed screen, a watermark.

Each works on a stretch of the file around one cached clip. The clean video's box cuts the result,
so that detection plays no part. Levels are ours where no source is named; those of the codecs lie
at about equal PSNR over real face crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.clips.transcode import Coding, lacking, transcode

Frames = NDArray[np.uint8]  # (L, H, W, 3) RGB

# Frames encoded before a clip: a clip that began at a key frame would look better than most.
LEAD = 12
# Largest corner shift of a filmed screen, as a share of the side.
TILTED = 0.02


@dataclass(frozen=True)
class Stretch:
    """A cached clip and the frames around it, as far as the video has them.

    frames: (L, H, W, 3) uint8 RGB.
    first, count: the clip's place in them.
    number: of the first frame in the video.
    fps: frames a second.
    box: (4,) px, of the face.
    """

    frames: Frames
    first: int
    count: int
    number: int
    fps: float
    box: NDArray[np.float32]

    @property
    def clip(self) -> Frames:
        return self.frames[self.first : self.first + self.count]


# A stretch, the parameter of a level and random numbers -> (count, H', W', 3), the clip as it looks
# afterwards; another size stands for a video of that size.
Change = Callable[[Stretch, Any, np.random.Generator], Frames]


@dataclass(frozen=True)
class Wear:
    """One row of the robustness table that needs the video itself.

    name, title: as of a Perturbation.
    levels: (what it is in words, its parameter), mild to strong.
    apply: see Change; equal random numbers give equal pixels.
    around: frames it wants before and after a clip of so many.
    encoders: of ENCODERS, without which there is no row.
    """

    name: str
    title: str
    levels: tuple[tuple[str, Any], ...]
    apply: Change
    around: Callable[[int], tuple[int, int]]
    encoders: tuple[str, ...] = ()

    @property
    def lacking(self) -> str:
        """Why this machine has no such row; "" when it has."""
        return next(filter(None, map(lacking, self.encoders)), "")


def _lead(count: int) -> tuple[int, int]:
    return LEAD, 0


def _nothing(count: int) -> tuple[int, int]:
    return 0, 0


def _encoded(stretch: Stretch, coding: Coding, rng: np.random.Generator) -> Frames:
    shown = transcode(stretch.frames, coding, stretch.fps)
    return shown[stretch.first : stretch.first + stretch.count]


@dataclass(frozen=True)
class Station:
    """One encoder on the way.

    coding: its bit rate is that of 480 x 480 px, scaled by the area.
    long: longest side it lets pass, 0 for any.
    shift: px by which the picture moved on the grid of blocks.
    """

    coding: Coding
    long: int = 0
    shift: int = 0


def _chain(stretch: Stretch, stations: Iterable[Station], rng: np.random.Generator) -> Frames:
    frames = stretch.frames
    for station in stations:
        frames = _at_most(frames, station.long)
        height, width = frames.shape[1:3]
        coding = station.coding
        if coding.bits:
            coding = replace(coding, bits=round(coding.bits * height * width / 480**2))
        shift = ((0, 0), (station.shift, 0), (station.shift, 0), (0, 0))
        moved = np.pad(frames, shift, mode="edge")
        frames = transcode(moved, coding, stretch.fps)[:, station.shift :, station.shift :]
    return frames[stretch.first : stretch.first + stretch.count]


def _at_most(frames: Frames, long: int) -> Frames:
    """Averaged down until no side is longer; even sides, as 4:2:0 wants."""
    height, width = frames.shape[1:3]
    if not long or max(height, width) <= long:
        return frames
    size = tuple(2 * round(side * long / max(height, width) / 2) for side in (width, height))
    return _resized(frames, size, cv2.INTER_AREA)


def _resized(frames: Frames, size: tuple[int, int], how: int) -> Frames:
    """size: (width, height)."""
    return np.stack([cv2.resize(frame, size, interpolation=how) for frame in frames])


def _down_and_up(stretch: Stretch, factor: float, rng: np.random.Generator) -> Frames:
    height, width = stretch.frames.shape[1:3]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    return _resized(_resized(stretch.clip, small, cv2.INTER_AREA), (width, height), cv2.INTER_CUBIC)


def _every(stretch: Stretch, step: int, rng: np.random.Generator) -> Frames:
    """Every step-th frame; a video too short for it repeats its last one, as a player does."""
    span, last = step * (stretch.count - 1), len(stretch.frames) - 1
    start = max(0, min(stretch.first, last - span))
    return stretch.frames[np.minimum(start + step * np.arange(stretch.count), last)]


def _resampled(stretch: Stretch, rate: float, rng: np.random.Generator, blend: bool) -> Frames:
    """The video at `rate` times its frame rate: from the nearest frame, or blended of two."""
    number = stretch.number + stretch.first
    shown = np.round(number * rate) + np.arange(stretch.count)
    place = np.clip(shown / rate - stretch.number, 0, len(stretch.frames) - 1)
    if not blend:
        return stretch.frames[np.rint(place).astype(int)]
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(stretch.frames) - 1)
    part = (place - low).astype(np.float32)[:, None, None, None]
    return np.rint((1 - part) * stretch.frames[low] + part * stretch.frames[high]).astype(np.uint8)


def _filmed(stretch: Stretch, moire: float, rng: np.random.Generator) -> Frames:
    """A screen filmed by hand: gamma, moire stripes of its own phase a channel, a tilt that leaves
    the face where it is, a soft lens, fewer pixels, noise of the sensor.
    """
    frames, (height, width) = stretch.clip, stretch.frames.shape[1:3]
    gamma, direction = rng.uniform(0.9, 1.1), rng.uniform(0, np.pi)
    frequency, phase = rng.uniform(0.28, 0.45), rng.uniform(0, 2 * np.pi, 3)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = frequency * (np.cos(direction) * x + np.sin(direction) * y)
    stripes = 1 + moire * np.sin(2 * np.pi * wave[..., None] + phase).astype(np.float32)
    tilt = _tilt(stretch.box, width, height, rng)
    size = max(1, round(0.93 * width)), max(1, round(0.93 * height))
    out = []
    for frame in frames:
        shown = 255 * (frame.astype(np.float32) / 255) ** gamma * stripes
        seen = cv2.warpPerspective(shown, tilt, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        seen = cv2.resize(cv2.GaussianBlur(seen, (0, 0), 0.7), size, interpolation=cv2.INTER_AREA)
        noise = rng.normal(0, 2, seen.shape)
        out.append(np.clip(np.rint(seen + noise), 0, 255).astype(np.uint8))
    return np.stack(out)


def _tilt(box: NDArray, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) perspective that moves the corners a little and the middle of the box not at all."""
    corner = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corner + rng.uniform(-TILTED, TILTED, (4, 2)) * [width, height]
    warp = cv2.getPerspectiveTransform(corner, moved.astype(np.float32))
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
    there = warp @ middle
    back = np.eye(3)
    back[:2, 2] = middle[:2] - there[:2] / there[2]
    return back @ warp


def _marked(stretch: Stretch, opacity: float, rng: np.random.Generator, over_face: bool) -> Frames:
    """A drawn logo, 2 % of the picture: in one of its corners, or over the mouth."""
    height, width = stretch.frames.shape[1:3]
    wide = max(16, round(2 * (0.02 * width * height) ** 0.5))
    edge, (x1, y1, x2, y2) = max(2, width // 50), stretch.box
    if over_face:
        wide = int(max(16, min(wide, x2 - x1)))
    tall = wide // 4
    if over_face:
        left, top = round((x1 + x2 - wide) / 2), round(y1 + 0.75 * (y2 - y1) - tall / 2)
    else:
        left = int(rng.choice([edge, width - edge - wide]))
        top = int(rng.choice([edge, height - edge - tall]))
    ink, cover = _logo(wide, tall)
    move = np.array([[1, 0, left], [0, 1, top]], np.float64)
    placed = [cv2.warpAffine(part, move, (width, height)) for part in (ink, cover)]
    ink, cover = placed[0][..., None], opacity * placed[1][..., None]
    return np.rint((1 - cover) * stretch.clip + cover * ink).astype(np.uint8)


def _logo(wide: int, tall: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grey levels and coverage 0..1 of white letters on a dark bar, each (tall, wide)."""
    bar = np.full((64, 256), 40, np.uint8)
    cv2.putText(bar, "SAMPLE", (14, 46), cv2.FONT_HERSHEY_SIMPLEX, 1.9, 255, 5, cv2.LINE_AA)
    ink = cv2.resize(bar, (wide, tall), interpolation=cv2.INTER_AREA).astype(np.float32)
    return ink, np.ones_like(ink)


def _crfs(encoder: str, *factors: int) -> tuple[tuple[str, Coding], ...]:
    return tuple((f"crf {crf}", Coding(encoder, crf)) for crf in factors)


def _of(encoder: str, crf: int, long: int = 0, shift: int = 0, profile: str = "") -> Station:
    return Station(Coding(encoder, crf, profile=profile), long, shift=shift)


def _site(crf: int) -> tuple[tuple[str, tuple[Station, ...]], ...]:
    sides = (1280, 854, 640)
    return tuple((f"{side} px", (_of("H.264", crf, side, profile="high"),)) for side in sides)


def _messenger(kilobits: int) -> Station:
    return Station(Coding("H.264", bits=1000 * kilobits, profile="baseline"), 640)


DOUBLE = (
    ("H.264 18, 28", (_of("H.264", 18), _of("H.264", 28))),
    ("H.264 23, 23 shifted", (_of("H.264", 23), _of("H.264", 23, shift=4))),
    ("H.264 28, 33", (_of("H.264", 28), _of("H.264", 33))),
    ("AV1 47, H.264 28", (_of("AV1", 47), _of("H.264", 28))),
    ("H.264 33, H.265 32", (_of("H.264", 33), _of("H.265", 32))),
)
SITE = _of("H.264", 26, 640, profile="high")
CHAINS = (
    ("video site, messenger", (SITE, _messenger(400))),
    ("messenger twice", (_messenger(400), _messenger(400))),
)
RATES = (("x 24/25", 24 / 25), ("x 30/25", 30 / 25))
OPACITY = tuple((f"{100 * share:g} %", share) for share in (0.2, 0.4, 0.6, 0.8, 1.0))

# name -> the row, in the order of the table. The two sites' crf 26 and 28 are what a public
# emulation (arXiv 2508.08765) fitted to shared FaceForensics++ videos.
WEAR: dict[str, Wear] = {
    wear.name: wear
    for wear in (
        Wear(
            "H264", "H.264 video", _crfs("H.264", 18, 23, 28, 33, 40), _encoded, _lead, ("H.264",)
        ),
        Wear(
            "H265", "H.265 video", _crfs("H.265", 21, 26, 32, 37, 45), _encoded, _lead, ("H.265",)
        ),
        Wear("VP9", "VP9 video", _crfs("VP9", 33, 44, 53, 62), _encoded, _lead, ("VP9",)),
        Wear("AV1", "AV1 video", _crfs("AV1", 32, 47, 57, 62), _encoded, _lead, ("AV1",)),
        Wear("DB", "compressed twice", DOUBLE, _chain, _lead, ("H.264", "H.265", "AV1")),
        Wear("SITE", "video site", _site(26), _chain, _lead, ("H.264",)),
        Wear("SOCIAL", "social site", _site(28), _chain, _lead, ("H.264",)),
        Wear(
            "MSG",
            "messenger",
            tuple((f"{rate} kbit/s", (_messenger(rate),)) for rate in (800, 400, 200)),
            _chain,
            _lead,
            ("H.264",),
        ),
        Wear("CHAIN", "shared twice", CHAINS, _chain, _lead, ("H.264",)),
        Wear(
            "RS",
            "down and up",
            tuple((f"1/{factor:g}", factor) for factor in (1.33, 2, 3, 4, 6)),
            _down_and_up,
            _nothing,
        ),
        Wear(
            "FR",
            "frames dropped",
            (("every 2nd", 2), ("every 3rd", 3)),
            _every,
            lambda count: (2 * (count - 1), 2 * (count - 1)),
        ),
        Wear(
            "FN",
            "other rate, nearest",
            RATES,
            partial(_resampled, blend=False),
            lambda count: (2, 2 + count // 20),
        ),
        Wear(
            "FB",
            "other rate, blended",
            RATES,
            partial(_resampled, blend=True),
            lambda count: (2, 2 + count // 20),
        ),
        Wear(
            "SC",
            "filmed screen",
            tuple((f"moire {share:g}", share) for share in (0.02, 0.04, 0.06, 0.08, 0.1)),
            _filmed,
            _nothing,
        ),
        Wear("WM", "watermark, corner", OPACITY, partial(_marked, over_face=False), _nothing),
        Wear("WF", "watermark, face", OPACITY, partial(_marked, over_face=True), _nothing),
    )
}
