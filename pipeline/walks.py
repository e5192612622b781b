"""The two ways through the packets of an open video, planned and sequential; both yield frames in display order.

The sequential walk is what "decode this file" plainly means and the measure of the planned one. The guards over the
planned walk's frames are ours. Tests make several of them fire; a change of picture size or format inside a video has
no test file yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av import Packet
from av.container import InputContainer
from av.error import DecoderNotFoundError
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.containers import AV_ERRORS
from pipeline.errors import VideoError
from pipeline.packets import FEED, SKIP, PlanBroken, Run, is_flush, plan_actions, plan_runs


@dataclass
class Tally:
    """What a sequential decode met on its way.

    bad: packets that could not be decoded; last_bad: whether the last one was.   corrupt: frames marked so.
    ended_early: the container stopped with an error.   end: pts + duration of the last packet shown, ticks.
    """

    packets: int = 0
    bad: int = 0
    last_bad: bool = False
    corrupt: int = 0
    ended_early: bool = False
    end: int | None = None
    interlaced: bool = False

    @property
    def damaged(self) -> bool:
        return bool(self.bad or self.corrupt or self.ended_early)

    def share_bad(self) -> float:
        """Share of bad packets; a bad last one is where the file was cut, not damage."""
        return (self.bad - self.last_bad) / max(self.packets, 1)


def decode_all(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[VideoFrame]:
    """Decode every packet in turn and yield all frames in display order, stepping over damaged packets."""
    size = None
    for frame in _decode_packets(container, stream, tally):
        tally.corrupt += frame.is_corrupt
        tally.interlaced |= frame.interlaced_frame
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            now = f"{frame.width}x{frame.height}"
            raise VideoError("corrupt", f"the picture size changes from {size[0]}x{size[1]} to {now} px")
        yield frame


def _decode_packets(container: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise VideoError("out_of_memory", f"reading packet {tally.packets}") from None
        except AV_ERRORS:
            tally.ended_early, packet = True, None
        if packet is None or is_flush(packet):
            break
        tally.packets += 1
        tally.last_bad = False
        if packet.pts is not None and not packet.is_discard:
            tally.end = max(tally.end or packet.pts, packet.pts + (packet.duration or 0))
        yield from _decode_packet(stream, packet, tally)
    yield from _decode_packet(stream, None, tally)


def _decode_packet(stream: VideoStream, packet: Packet | None, tally: Tally) -> list[VideoFrame]:
    try:
        return stream.codec_context.decode(packet)
    except MemoryError:
        raise VideoError("out_of_memory", f"decoding packet {tally.packets}") from None
    except DecoderNotFoundError:
        raise VideoError("unsupported_codec", f"{stream.codec_context.name} cannot decode this video") from None
    except AV_ERRORS:
        tally.bad += packet is not None
        tally.last_bad = packet is not None
        return []


def decode_planned(
    container: InputContainer, stream: VideoStream, rows: NDArray[np.void], wanted: NDArray[np.int64]
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (number, frame) of the wanted frames in order, decoding no more than they need.

    rows: the packets as scan listed them.   wanted: frame numbers, increasing.
    Raises PlanBroken when a guard fires, VideoError out_of_memory.
    """
    codec = stream.codec_context
    runs = plan_runs(rows, wanted)
    actions = plan_actions(rows, runs, codec.codec.canonical_name)
    packets, pts = enumerate(container.demux(stream)), rows["pts"]
    shape: list[tuple[int, int, str]] = []
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
    """The guards while decoding, over the frames of one run; shape is shared by all runs of the video."""

    def __init__(self, run: Run, rows: NDArray[np.void], shape: list[tuple[int, int, str]]) -> None:
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
        shape = (frame.width, frame.height, frame.format.name)
        if not self._shape:
            self._shape.append(shape)
        if shape != self._shape[0]:
            raise PlanBroken("picture size or format changes")

    def finish(self) -> None:
        """Check at the end of a run that nothing is missing."""
        if self._start is not None:
            raise PlanBroken("a run's keyframe did not come out")
        if self._wanted:
            raise PlanBroken(f"{len(self._wanted)} wanted frames did not come out")
