"""A video file or a folder of pictures comes in, upright RGB clips go out; the only room where
video is decoded.

`scan` finds out everything about a file and chooses the way to read it; `decode_clips` yields the
wanted clips, one window of frames in memory at a time. Two ways give the same pixels: planned
(pipeline/decode/planned.py, fast, guarded) and sequential (every packet in turn, damaged ones
counted). A guard that fires while decoding raises PlanBroken: the caller drops that video's clips,
scans again with planned=False and starts over.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.config import Limits
from unmask.pipeline.decode import picture_folder
from unmask.pipeline.decode.containers import check_size, is_cut, open_container
from unmask.pipeline.decode.packets import PacketIndex, is_variable, list_packets, shown_order
from unmask.pipeline.decode.planned import find_guard
from unmask.pipeline.decode.rgb import read_rotation, upright_size
from unmask.pipeline.decode.sequential import Tally, decode_all
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import VideoInfo

log = logging.getLogger(__name__)


def scan(
    path: Path, limits: Limits, *, planned: bool = True, guard: str = "", threads: int = 1
) -> VideoInfo:
    """Find out what a file holds: exact frame count, time of each frame, and how decode_clips can
    read it.

    planned=False decodes once from start to end to count; guard says why, for the record.
    threads: of the decoder.
    Raises VideoError: not_a_file, permission, missing, not_a_video, no_video_stream,
        unsupported_codec, unsupported_rotation, too_large, too_small, too_short (no frame at all),
        truncated, corrupt, out_of_memory.
    """
    if path.is_dir():
        return picture_folder.scan(path, limits, planned=planned, guard=guard)
    if planned:
        with open_container(path, limits.max_pixels, threads, delay="ignore") as (
            container,
            stream,
        ):
            _check_declared_size(stream, limits)
            listing = list_packets(container, stream, limits.max_frames)
            guard = find_guard(
                listing, container.format.name, stream.codec_context.codec.canonical_name
            )
            if not guard:
                return _planned_info(container, stream, listing, limits, is_cut(path))
        log.debug("%s: sequential, because %s", path.name, guard)
    with open_container(path, limits.max_pixels, threads) as (container, stream):
        _check_declared_size(stream, limits)
        return _count(container, stream, limits, guard, is_cut(path))


def _check_declared_size(stream: VideoStream, limits: Limits) -> None:
    codec = stream.codec_context
    if codec.width and codec.height:
        check_size(codec.width, codec.height, limits)


def _planned_info(
    container: InputContainer, stream: VideoStream, listing: PacketIndex, limits: Limits, cut: bool
) -> VideoInfo:
    rows, first = listing.rows, listing.first
    assert first is not None
    ticks = rows["pts"][shown_order(rows)]
    flags = _flags(
        incomplete=cut or _falls_short(container, stream, listing.end, len(rows)),
        interlaced=first.interlaced_frame,
        vfr=is_variable(np.diff(ticks)),
    )
    seconds = ticks * float(stream.time_base)
    return _info(container, stream, first, limits, seconds, "planned", "", flags, rows)


def _flags(**found: bool) -> tuple[str, ...]:
    return tuple(name for name, true in found.items() if true)


def _info(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    limits: Limits,
    seconds: NDArray[np.float64],
    method: str,
    guard: str,
    flags: tuple[str, ...],
    rows: NDArray[np.void] | None = None,
) -> VideoInfo:
    check_size(first.width, first.height, limits)
    rotation = read_rotation(first)
    width, height = upright_size(first, rotation)
    return VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        width=width,
        height=height,
        rotation=rotation,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        frames=len(seconds),
        pts=seconds,
        method=method,
        guard=guard,
        flags=flags,
        packets=rows,
    )


def _falls_short(
    container: InputContainer, stream: VideoStream, end: int | None, packets: int
) -> bool:
    """Whether the file ends before what it declares: the stream's or container's duration, else
    its frame count.
    """
    if end is None:
        return True
    declared = _declared_end(container, stream)
    if declared is None:
        return packets < stream.frames
    step = 1 / float(stream.average_rate) if stream.average_rate else 0.05
    return declared - end * float(stream.time_base) > 1.5 * step


def _declared_end(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds at which the picture should end, None where the container does not say."""
    start = (stream.start_time or 0) * float(stream.time_base)
    if stream.duration is not None:
        return start + stream.duration * float(stream.time_base)
    tag = stream.metadata.get("DURATION", "")
    if tag.count(":") == 2:
        hours, minutes, seconds = tag.split(":")
        try:
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except ValueError:
            return None
    alone = len(container.streams) == 1 and container.duration is not None
    return start + container.duration / 1e6 if alone else None


def _count(
    container: InputContainer, stream: VideoStream, limits: Limits, guard: str, cut: bool
) -> VideoInfo:
    """Decode once without converting, and keep the times; cut: whether the file is known to end
    too early.
    """
    tally, first, ticks = Tally(), None, []
    for frame in decode_all(container, stream, tally):
        first = first or frame
        ticks.append(frame.pts)
        if len(ticks) > limits.max_frames:
            raise VideoError("too_large", f"more than {limits.max_frames} frames")
    cut = (
        cut
        or tally.ended_early
        or tally.last_bad
        or _falls_short(container, stream, tally.end, tally.packets)
    )
    if tally.share_bad() > limits.max_bad_packets:
        raise VideoError("corrupt", f"{tally.bad} of {tally.packets} packets cannot be decoded")
    if first is None:
        raise VideoError(
            "truncated" if cut else "too_short", f"no frame in {tally.packets} packets"
        )
    seconds, made = _sequential_times(ticks, stream)
    flags = _flags(
        incomplete=cut or tally.damaged,
        interlaced=tally.interlaced,
        vfr=not made and is_variable(np.diff(np.array(ticks, np.int64))),
        damaged=tally.damaged,
        times_from_rate=made,
    )
    return _info(container, stream, first, limits, seconds, "sequential", guard, flags)


def _sequential_times(
    ticks: list[int | None], stream: VideoStream
) -> tuple[NDArray[np.float64], bool]:
    """Seconds of each frame, and whether they had to be made from the frame rate because the
    file's are no order.
    """
    if None not in ticks and (np.diff(np.array(ticks, np.int64)) > 0).all():
        return np.array(ticks, np.int64) * float(stream.time_base), False
    rate = float(stream.average_rate or stream.guessed_rate or 0) or picture_folder.RATE
    return np.arange(len(ticks)) / rate, True
