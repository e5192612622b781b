"""Decode the wanted clips of a scanned video, one window of frames in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from unmask.pipeline.decode import picture_folder
from unmask.pipeline.decode.containers import open_container
from unmask.pipeline.decode.frames import Converters, DecodedFrame, DecodedFrames
from unmask.pipeline.decode.planned import decode_planned
from unmask.pipeline.decode.sequential import Tally, decode_all
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import Frames, VideoInfo


def decode_clips(
    path: Path, info: VideoInfo, windows: NDArray[np.int64], *, threads: int = 1
) -> Iterator[Frames]:
    """Decode the wanted windows and yield one Frames for each, in order; windows may overlap.

    windows: (N, T) frame numbers, increasing along T, first frames in order.
    info: scan's answer for this path.
    Only the windows that overlap the one being filled are in memory.
    Raises PlanBroken when a guard fires (everything yielded for this video is then void),
    VideoError like scan.
    """
    windows = np.asarray(windows, np.int64)
    _check_windows(windows, info)
    if not windows.size:
        return
    if info.container == picture_folder.CONTAINER:
        yield from _fill(picture_folder.decode(path, info, np.unique(windows)), windows, info)
        return
    planned = info.method == "planned"
    delay = "stated" if planned else "guess"  # guards watch over the order of planned frames
    with open_container(path, info.largest, threads, delay=delay) as (
        container,
        stream,
    ):
        if planned:
            assert info.packets is not None, "a planned VideoInfo comes from scan"
            shape = *info.stored, info.pixel_format
            frames = decode_planned(container, stream, info.packets, np.unique(windows), shape)
        else:
            frames = enumerate(decode_all(container, stream, Tally()))
        yield from _fill(frames, windows, info)


def _check_windows(windows: NDArray[np.int64], info: VideoInfo) -> None:
    if windows.ndim != 2:
        raise ValueError(f"windows: expected shape (N, T), got {windows.shape}")
    if windows.size and not 0 <= windows.min() <= windows.max() < info.frames:
        raise ValueError(
            f"windows: frames {windows.min()}..{windows.max()} of a video with {info.frames}"
        )
    if (np.diff(windows, axis=1) <= 0).any() or (np.diff(windows[:, :1], axis=0) < 0).any():
        raise ValueError(
            "windows: frames of a window must increase, and windows be in the order of their "
            "first frame"
        )


def _fill(
    frames: Iterable[tuple[int, VideoFrame]], windows: NDArray[np.int64], info: VideoInfo
) -> Iterator[Frames]:
    """Collect (number, frame) in increasing order into windows; windows that overlap share their
    pictures.
    """
    converters = Converters(info.rotation)
    held: dict[int, DecodedFrame] = {}
    opened = done = 0
    for number, frame in frames:
        while opened < len(windows) and windows[opened, 0] <= number:
            opened += 1
        if not (windows[done:opened] == number).any():
            continue
        held[number] = DecodedFrame(frame, converters, info.height, info.width)
        while done < opened and windows[done, -1] <= number:
            row = windows[done].copy()
            if not held.keys() >= set(row.tolist()):
                deque(
                    frames, maxlen=0
                )  # a planned walk tells at the end of its run what is missing
                break
            pictures = [held[n] for n in row.tolist()]
            done += 1
            first = windows[done, 0] if done < len(windows) else number + 1
            held = {n: picture for n, picture in held.items() if n >= first}
            yield DecodedFrames(pictures, row, info.pts[row])
            del pictures
        if done == len(windows):
            return
    raise VideoError(
        "changed_while_reading",
        f"clip {done} of {len(windows)} has lost frames that were there before",
    )
