"""Planned decoding: feed the decoder only the packets that the wanted frames need, under guards.

A guard that fires raises PlanBroken; the caller then starts over, decoding every packet in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.decode.containers import AV_ERRORS
from unmask.pipeline.decode.packets import NO_TIME, PacketIndex, is_steady, shown_order
from unmask.pipeline.errors import VideoError

# Decoders whose frames that nobody refers to can be skipped one by one (AVDISCARD_NONREF) without a
# trace. In VP9 it does nothing; in AV1 it loses wanted frames.
SKIPS_NONREF = ("h264", "hevc", "mpeg4", "mpeg2video")
_PLANNED_CODECS = (*SKIPS_NONREF, "vp9", "av1", "mjpeg")
# AVI has no pts of its own, GIF and the others were never found trustworthy.
_PLANNED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts")

SKIP, FEED_REFERENCES, FEED = 0, 1, 2


class PlanBroken(Exception):
    """A guard of planned decode fired: every frame got so far is void; scan again with
    planned=False.
    """


def find_guard(listing: PacketIndex, container: str, codec: str) -> str:
    """Say why a video must be decoded sequentially, "" when it can be planned (the guards before
    decoding).
    """
    rows = listing.rows
    if listing.trouble:
        return listing.trouble
    if codec not in _PLANNED_CODECS:
        return f"codec {codec} is not planned"
    if container not in _PLANNED_CONTAINERS and not (container == "avi" and codec == "mjpeg"):
        return f"container {container} is not planned"
    if not len(rows) or listing.first is None:
        return "no frame"
    return _find_time_guard(rows)


def _find_time_guard(rows: NDArray[np.void]) -> str:
    pts, dts = rows["pts"], rows["dts"][rows["dts"] != NO_TIME]
    if (pts == NO_TIME).any():
        return "a pts is missing"
    if len(np.unique(pts)) < len(pts):
        return "a pts is repeated"
    if (np.diff(dts) <= 0).any():
        return "dts do not increase"
    if not rows["key"][0]:
        return "the first packet is no keyframe"
    if pts.min() < pts[0]:
        return "a pts lies before the first packet's"
    steps = np.diff(pts[shown_order(rows)])
    if len(steps) and is_steady(steps) and (steps > 1.5 * np.median(steps)).any():
        return "a gap in steady pts"
    return ""


@dataclass
class Stretch:
    """One stretch of packets fed to a fresh decoder: file positions start..stop-1; wanted: pts ->
    frame number.
    """

    start: int
    stop: int
    wanted: dict[int, int]


def plan_runs(rows: NDArray[np.void], wanted: NDArray[np.int64]) -> list[Stretch]:
    """Cut the wanted frame numbers (increasing) into runs that each start at a keyframe, in file
    order.

    A run starts at the last keyframe packet at or before the wanted one; a frame shown before that
    keyframe (open group of pictures) needs the keyframe before it too.
    Raises PlanBroken when the order of runs is not the order of frames.
    """
    positions = shown_order(rows)[wanted]
    keys = np.flatnonzero(rows["key"])
    nearest = np.searchsorted(keys, positions, side="right") - 1
    leading = rows["pts"][positions] < rows["pts"][keys[nearest]]
    nearest -= leading
    if (nearest < 0).any() or (np.diff(nearest) < 0).any():
        raise PlanBroken("frames are not in the order of their keyframes")
    runs: list[Stretch] = []
    for start, position, number in zip(
        keys[nearest].tolist(), positions.tolist(), wanted.tolist(), strict=True
    ):
        if not runs or (start != runs[-1].start and start >= runs[-1].stop):
            runs.append(Stretch(start, start, {}))
        runs[-1].stop = max(runs[-1].stop, position + 1)
        runs[-1].wanted[int(rows["pts"][position])] = number
    return runs


def plan_actions(rows: NDArray[np.void], runs: list[Stretch], codec: str) -> bytes:
    """What to do with each packet, in file order: SKIP it, FEED it, or FEED_REFERENCES (drop it if
    nobody needs it).

    Discarded packets and the first of a run are always fed whole.
    """
    actions = np.full(len(rows), SKIP, np.uint8)
    for run in runs:
        inside = slice(run.start, run.stop)
        whole = rows["discard"][inside] | np.isin(rows["pts"][inside], list(run.wanted))
        whole[0] = True
        actions[inside] = np.where(whole, FEED, FEED_REFERENCES if codec in SKIPS_NONREF else FEED)
    return actions.tobytes()


def decode_planned(
    container: InputContainer,
    stream: VideoStream,
    rows: NDArray[np.void],
    wanted: NDArray[np.int64],
    shape: tuple[int, int, str],
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (number, frame) of the wanted frames in order, decoding no more than they need.

    rows: the packets as scan listed them.
    wanted: frame numbers, increasing.
    shape: width, height (px) and pixel format of every frame, as scan found them on the first.
    Raises PlanBroken when a guard fires, VideoError out_of_memory.
    """
    codec = stream.codec_context
    runs = plan_runs(rows, wanted)
    actions = plan_actions(rows, runs, codec.codec.canonical_name)
    packets, pts = enumerate(container.demux(stream)), rows["pts"]
    action, codec.skip_frame = FEED, "DEFAULT"  # setting it for every packet is felt
    for run in runs:
        check = _RunCheck(run, rows, shape)
        try:
            for position, packet in packets:
                if position >= len(pts) or packet.pts != pts[position]:
                    raise PlanBroken(f"packet {position} is not the one that was listed")
                if actions[position] == SKIP:
                    continue
                if actions[position] != action:
                    action = actions[position]
                    codec.skip_frame = "DEFAULT" if action == FEED else "NONREF"
                yield from check.accept(codec.decode(packet))
                if position + 1 == run.stop:
                    break
            action, codec.skip_frame = FEED, "DEFAULT"
            yield from check.accept(codec.decode(None))
            codec.flush_buffers()
        except MemoryError:
            raise VideoError("out_of_memory", f"decoding frames near packet {run.stop}") from None
        except AV_ERRORS as error:
            raise PlanBroken(f"{type(error).__name__} while decoding") from None
        check.finish()


class _RunCheck:
    """The guards while decoding, over the frames of one run."""

    def __init__(self, run: Stretch, rows: NDArray[np.void], shape: tuple[int, int, str]) -> None:
        self._wanted = dict(run.wanted)
        self._fed = set(rows["pts"][run.start : run.stop].tolist())
        self._start = None if rows["discard"][run.start] else int(rows["pts"][run.start])
        self._last: int | None = None
        self._shape = shape

    def accept(self, frames: list[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        """Check frames as they leave the decoder and pass on the wanted ones with their numbers."""
        for frame in frames:
            self._check(frame)
            number = self._wanted.pop(frame.pts, None)
            if number is not None:
                yield number, frame

    def _check(self, frame: VideoFrame) -> None:
        if frame.is_corrupt:
            raise PlanBroken("a frame is marked corrupt")
        if frame.pts not in self._fed:
            raise PlanBroken(f"a frame came with the unknown pts {frame.pts}")
        if self._last is not None and frame.pts <= self._last:
            raise PlanBroken("frames came out of order or twice")
        self._last = frame.pts
        if frame.pts == self._start:
            if frame.pict_type != PictureType.I:
                raise PlanBroken("a run's keyframe is not an intra picture")
            self._start = None
        if (frame.width, frame.height, frame.format.name) != self._shape:
            raise PlanBroken("picture size or format changes")

    def finish(self) -> None:
        """Check at the end of a run that nothing is missing."""
        if self._start is not None:
            raise PlanBroken("a run's keyframe did not come out")
        if self._wanted:
            raise PlanBroken(f"{len(self._wanted)} wanted frames did not come out")
