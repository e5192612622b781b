"""The packet index of a video, the guards that say whether it can be trusted, and the plan of what to decode.

Planned decode (ours): a file is demuxed once without decoding, its frames are numbered by the rank of their pts, and
then only the groups of pictures that hold wanted frames are fed to the decoder, where unwanted frames that no other
frame needs are skipped. It gives exactly the pixels of a plain sequential decode, or it says that it cannot:
PlanBroken.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.containers import AV_ERRORS
from pipeline.errors import VideoError

NO_TIME = np.iinfo(np.int64).min
ROW = np.dtype([("pts", "i8"), ("dts", "i8"), ("key", "?"), ("discard", "?")])

# Decoders whose frames that nobody refers to can be skipped one by one (AVDISCARD_NONREF) without a trace.
# In VP9 it does nothing; in AV1 it loses wanted frames.
SKIPS_NONREF = ("h264", "hevc", "mpeg4", "mpeg2video")
_PLANNED_CODECS = (*SKIPS_NONREF, "vp9", "av1", "mjpeg")
# AVI has no pts of its own, GIF and the others were never found trustworthy.
_PLANNED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts")

SKIP, FEED_REFERENCES, FEED = 0, 1, 2


class PlanBroken(Exception):
    """A guard of planned decode fired: every frame got so far is void; scan again with planned=False."""


@dataclass
class Listing:
    """What one pass over the packets found.

    rows: (packets,) ROW in file order.   first: first decodable frame, for its size, format and rotation.
    trouble: why the pass itself cannot be trusted, or "".   end: pts + duration of the last packet shown, ticks.
    """

    rows: NDArray[np.void]
    first: VideoFrame | None
    trouble: str
    end: int | None


@dataclass
class _Columns:
    pts: array = field(default_factory=lambda: array("q"))
    dts: array = field(default_factory=lambda: array("q"))
    key: bytearray = field(default_factory=bytearray)
    discard: bytearray = field(default_factory=bytearray)

    def append(self, packet: Packet) -> None:
        self.pts.append(NO_TIME if packet.pts is None else packet.pts)
        self.dts.append(NO_TIME if packet.dts is None else packet.dts)
        self.key.append(packet.is_keyframe)
        self.discard.append(packet.is_discard)

    def rows(self) -> NDArray[np.void]:
        rows = np.empty(len(self.pts), ROW)
        rows["pts"], rows["dts"] = self.pts, self.dts
        rows["key"] = np.frombuffer(self.key, np.uint8)
        rows["discard"] = np.frombuffer(self.discard, np.uint8)
        return rows


def is_flush(packet: Packet) -> bool:
    """Whether demux made this packet up at the end of the file, to drain the decoder."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def list_packets(container: InputContainer, stream: VideoStream, max_frames: int) -> Listing:
    """Demux the whole file once, decoding no further than its first frame.

    Raises VideoError too_large for more than max_frames packets, out_of_memory.
    """
    columns, first, trouble, end = _Columns(), None, "", None
    try:
        for packet in container.demux(stream):
            if is_flush(packet):
                break
            if first is None:
                first = _decode_alone(stream, packet)
            columns.append(packet)
            if packet.is_corrupt:
                trouble = trouble or f"packet {len(columns.pts) - 1} is marked corrupt"
            if packet.pts is not None and not packet.is_discard:
                end = max(end or packet.pts, packet.pts + (packet.duration or 0))
            if len(columns.pts) > max_frames:
                raise VideoError("too_large", f"more than {max_frames} frames")
    except MemoryError:
        raise VideoError("out_of_memory", f"packet {len(columns.pts)}") from None
    except AV_ERRORS as error:
        trouble = trouble or f"{type(error).__name__} at packet {len(columns.pts)}"
    return Listing(columns.rows(), first, trouble, end)


def _decode_alone(stream: VideoStream, packet: Packet) -> VideoFrame | None:
    """The frame of one packet, without waiting for the packets after it; None where it needs others."""
    codec = stream.codec_context
    frames = [*codec.decode(packet), *codec.decode(None)]
    codec.flush_buffers()
    return next(iter(frames), None)


def shown_order(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Frame number -> position in the file (frames,): rank by pts among the packets that are shown."""
    shown = np.flatnonzero(~rows["discard"])
    return shown[np.argsort(rows["pts"][shown], kind="stable")]


def find_guard(listing: Listing, container: str, codec: str) -> str:
    """Say why a video must be decoded sequentially, "" when it can be planned (the guards before decoding)."""
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


def is_steady(steps: NDArray[np.int64]) -> bool:
    """Whether 95 % of the pts steps (ticks) are equal, up to one tick where a coarse clock rounds (33, 33, 34 ms)."""
    if not len(steps):
        return True
    return float((np.abs(steps - np.median(steps)) <= _rounding(steps)).mean()) >= 0.95


def is_variable(steps: NDArray[np.int64]) -> bool:
    """Whether any step (ticks) differs from the median by more than rounding and 5 %: a variable frame rate."""
    if not len(steps):
        return False
    median = np.median(steps)
    return bool((np.abs(steps - median) > max(_rounding(steps), 0.05 * median)).any())


def _rounding(steps: NDArray[np.int64]) -> int:
    return 1 if np.median(steps) >= 8 else 0


@dataclass
class Run:
    """One stretch of packets fed to a fresh decoder: file positions start..stop-1; wanted: pts -> frame number."""

    start: int
    stop: int
    wanted: dict[int, int]


def plan_runs(rows: NDArray[np.void], wanted: NDArray[np.int64]) -> list[Run]:
    """Cut the wanted frame numbers (increasing) into runs that each start at a keyframe, in file order.

    A run starts at the last keyframe packet at or before the wanted one; a frame shown before that keyframe (open
    group of pictures) needs the keyframe before it too.
    Raises PlanBroken when the order of runs is not the order of frames.
    """
    positions = shown_order(rows)[wanted]
    keys = np.flatnonzero(rows["key"])
    nearest = np.searchsorted(keys, positions, side="right") - 1
    leading = rows["pts"][positions] < rows["pts"][keys[nearest]]
    nearest -= leading
    if (nearest < 0).any() or (np.diff(nearest) < 0).any():
        raise PlanBroken("frames are not in the order of their keyframes")
    runs: list[Run] = []
    for start, position, number in zip(keys[nearest].tolist(), positions.tolist(), wanted.tolist(), strict=True):
        if not runs or (start != runs[-1].start and start >= runs[-1].stop):
            runs.append(Run(start, start, {}))
        runs[-1].stop = max(runs[-1].stop, position + 1)
        runs[-1].wanted[int(rows["pts"][position])] = number
    return runs


def plan_actions(rows: NDArray[np.void], runs: list[Run], codec: str) -> bytes:
    """What to do with each packet, in file order: SKIP it, FEED it, or FEED_REFERENCES (drop it if nobody needs it).

    Discarded packets and the first of a run are always fed whole.
    """
    actions = np.full(len(rows), SKIP, np.uint8)
    for run in runs:
        inside = slice(run.start, run.stop)
        whole = rows["discard"][inside] | np.isin(rows["pts"][inside], list(run.wanted))
        whole[0] = True
        actions[inside] = np.where(whole, FEED, FEED_REFERENCES if codec in SKIPS_NONREF else FEED)
    return actions.tobytes()
