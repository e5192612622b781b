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
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.config import Limits
from unmask.pipeline.decode import picture_folder
from unmask.pipeline.decode.account import Account, Evidence, holds_part, settle
from unmask.pipeline.decode.containers import check_size, open_container
from unmask.pipeline.decode.ending import Ending, read_ending
from unmask.pipeline.decode.packets import (
    NO_TIME,
    PacketIndex,
    is_variable,
    list_packets,
    shown_order,
)
from unmask.pipeline.decode.planned import find_guard
from unmask.pipeline.decode.rgb import read_aspect, read_colour, read_rotation, square_size
from unmask.pipeline.decode.sequential import Tally, decode_all
from unmask.pipeline.decode.tone_map import is_high_range
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
    if path.is_dir() or picture_folder.is_picture(path):
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
                return _planned_info(container, stream, listing, limits, read_ending(path))
        log.debug("%s: sequential, because %s", path.name, guard)
    with open_container(path, limits.max_pixels, threads) as (container, stream):
        _check_declared_size(stream, limits)
        return _count(container, stream, limits, guard, read_ending(path))


def _check_declared_size(stream: VideoStream, limits: Limits) -> None:
    codec = stream.codec_context
    if codec.width and codec.height:
        check_size(codec.width, codec.height, limits)


def _planned_info(
    container: InputContainer,
    stream: VideoStream,
    listing: PacketIndex,
    limits: Limits,
    ending: Ending,
) -> VideoInfo:
    rows, first = listing.rows, listing.first
    assert first is not None and listing.last is not None
    ticks = rows["pts"][shown_order(rows)]
    dts = rows["dts"][rows["dts"] != NO_TIME]
    account = settle(
        container,
        stream,
        ending,
        Evidence(
            packets=ticks,
            ticks=ticks,
            frames=len(ticks),
            discarded=int(rows["discard"].sum()),
            last_bad=holds_part(
                listing.last, stream.codec_context.codec.canonical_name, first.height
            ),
            first_dts=int(dts[0]) if len(dts) else 0,
            last_dts=int(dts[-1]) if len(dts) else None,
        ),
    )
    flags = _flags(account, interlaced=first.interlaced_frame, vfr=is_variable(np.diff(ticks)))
    seconds, sizes = ticks * float(stream.time_base), {(first.width, first.height): 1}
    return _info(
        container, stream, first, limits, seconds, "planned", "", flags, account, sizes, rows
    )


def _flags(account: Account, **found: bool) -> tuple[str, ...]:
    found |= {
        "incomplete": account.incomplete,
        "damaged": account.damaged,
        "gaps": account.gaps > 0,
    }
    return tuple(sorted(name for name, true in found.items() if true))


def _info(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    limits: Limits,
    seconds: NDArray[np.float64],
    method: str,
    guard: str,
    flags: tuple[str, ...],
    account: Account,
    sizes: Mapping[tuple[int, int], int],
    rows: NDArray[np.void] | None = None,
) -> VideoInfo:
    (stored_width, stored_height), _ = max(sizes.items(), key=itemgetter(1))  # the first of equals
    aspect, rotation = read_aspect(stream), read_rotation(first)
    width, height = square_size(stored_width, stored_height, aspect)
    for size in (*sizes, (width, height)):
        check_size(*size, limits)
    if rotation % 180:
        width, height = height, width
    colour = read_colour(first)
    scaled = {
        "anamorphic": aspect != 1,
        "mixed_sizes": len(sizes) > 1,
        "high_range": is_high_range(first.color_trc),
    }
    flags = tuple(sorted((*flags, *(name for name, true in scaled.items() if true))))
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
        numbers=account.numbers,
        promised=account.promised,
        missing=account.words,
        stored=(stored_width, stored_height),
        largest=max(width * height for width, height in sizes),
        aspect=aspect,
        **vars(colour),
    )


def _count(
    container: InputContainer, stream: VideoStream, limits: Limits, guard: str, ending: Ending
) -> VideoInfo:
    """Decode once without converting, and keep the times.

    Raises VideoError corrupt where more than limits.max_bad_packets of the promised frames are
    lost, truncated or too_short where no frame comes out.
    """
    tally, first, ticks = Tally(), None, []
    for frame in decode_all(container, stream, tally):
        first = first or frame
        ticks.append(frame.pts)
        if len(ticks) > limits.max_frames:
            raise VideoError("too_large", f"more than {limits.max_frames} frames")
    if tally.share_bad() > limits.max_bad_packets:
        raise VideoError("corrupt", f"{tally.bad} of {tally.packets} packets cannot be decoded")
    if ending.pictures is not None and ending.cut:
        del ticks[max(0, ending.pictures - 1) :]  # the last one is drawn in part
    if first is None or not ticks:
        cut = ending.cut or tally.ended_early or tally.last_bad or tally.packets < stream.frames
        raise VideoError(
            "truncated" if cut else "too_short", f"no frame in {tally.packets} packets"
        )
    seconds, made = _sequential_times(ticks, stream)
    exact = None if made else np.array(ticks, np.int64)
    account = settle(container, stream, ending, _evidence(tally, stream, len(ticks), exact, first))
    if account.share_lost() > limits.max_bad_packets:
        raise VideoError("corrupt", account.words)
    flags = _flags(
        account,
        interlaced=tally.interlaced,
        vfr=exact is not None and is_variable(np.diff(exact)),
        times_from_rate=made,
    )
    return _info(
        container, stream, first, limits, seconds, "sequential", guard, flags, account, tally.sizes
    )


def _evidence(
    tally: Tally,
    stream: VideoStream,
    frames: int,
    ticks: NDArray[np.int64] | None,
    first: VideoFrame,
) -> Evidence:
    codec = stream.codec_context.codec.canonical_name
    part = tally.last is not None and holds_part(tally.last, codec, first.height)
    return Evidence(
        packets=np.array(tally.pictures, np.int64),
        ticks=ticks,
        frames=frames,
        discarded=tally.discarded,
        bad=tally.bad - tally.last_bad,
        corrupt=tally.marked - tally.last_marked + tally.corrupt,
        last_bad=tally.last_bad or tally.last_marked or part,
        ended_early=tally.ended_early,
        starts_inside=not tally.first_key,
        first_dts=tally.first_dts or 0,
        last_dts=tally.last_dts,
        interlaced=tally.interlaced,
    )


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
