"""Which frames of a scanned video make its clips: spread evenly, never over a gap in the frame
numbers, or where another video has its own.

A window is a row of positions, as decode_clips takes them. The position of a frame in a video file
is its number, unless frames before it are lost; a picture in a folder has the number that its name
says. Two frames are neighbours when their numbers are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import VideoInfo


def plan_clips(info: VideoInfo, clips: int, length: int) -> NDArray[np.int64]:
    """Windows (N, length) of consecutive frames spread evenly over all places where one fits; N <=
    clips.

    Ours, because a clip that bridges a gap would show a jump; without gaps it is spread_clips.
    Raises: VideoError too_short, or truncated for an incomplete file, when no clip fits.
    """
    plain = spread_clips(info.frames, clips, length, info.flags)
    if info.numbers is None:
        return plain
    last = info.frames - length + 1
    starts = np.flatnonzero(info.numbers[length - 1 :] - info.numbers[:last] == length - 1)
    if not len(starts):
        raise VideoError(
            "truncated" if "incomplete" in info.flags else "too_short",
            f"no {length} consecutive frame numbers among {info.frames}",
        )
    chosen = spread_clips(len(starts), clips, 1)[:, 0]
    return starts[chosen][:, None] + np.arange(length)


def find_windows(
    info: VideoInfo, index: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where the frames of another video's clips lie in this one: windows (M, T), and which of the N
    it has, (N,).

    index: (N, T) frame numbers of the other video.
    """
    if info.numbers is None:
        places, there = index, index < info.frames
    else:
        places = np.minimum(np.searchsorted(info.numbers, index), info.frames - 1)
        there = info.numbers[places] == index
    whole = there.all(axis=1)
    return places[whole], whole


def count_from(info: VideoInfo, first: int) -> VideoInfo:
    """The same video with numbers that begin at 0 where its owners call the first frame `first`."""
    return info if info.numbers is None else replace(info, numbers=info.numbers - first)


def frame_numbers(info: VideoInfo, windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions -> frame numbers, any shape."""
    return windows if info.numbers is None else info.numbers[windows]


def spread_clips(
    frames: int, clips: int, length: int, flags: tuple[str, ...] = ()
) -> NDArray[np.int64]:
    """Spread clips of consecutive frames evenly over a whole video: frame numbers (N, length).

    N = min(clips, frames - length + 1): the video is cut into N equal parts and a clip starts in
    the middle of each, so that starts are distinct and neither the first nor the last frames, often
    black, are favoured.
    flags: of VideoInfo, they tell a cut file from a short one.
    Raises VideoError too_short, or truncated for an incomplete file, when no clip fits.
    """
    places = frames - length + 1
    if places < 1:
        reason = "truncated" if "incomplete" in flags else "too_short"
        hint = "; extract pictures with --clips 1 --frames 1" if frames == 1 else ""
        raise VideoError(reason, f"{frames} frames, a clip needs {length}{hint}")
    count = min(clips, places)
    starts = (2 * np.arange(count, dtype=np.int64) + 1) * places // (2 * count)
    return starts[:, None] + np.arange(length)
