"""A fake is cut when and where its original is: what the cache says of the original's clips
(`--pair-boxes`).

Otherwise the crop itself may give the label away (Celeb-DF and DFDC reports of detectors that learn
the crop). Frame i of a fake is frame i of its original in every dataset that names pairs, but not
where words were replaced: LAV-DF stretches its fakes in time, so a fake with spans in seconds is
cut by its own faces. A fake of another size is cut at the scaled boxes where it has the original's
shape; one that shows something else there is cut by its own faces too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.cache.video import is_committed, open_video
from unmask.pipeline.decode.windows import find_windows
from unmask.pipeline.errors import CacheError, VideoError
from unmask.pipeline.faces.cuts import (
    FACE_CUT_CORRELATION,
    FACE_CUT_LEVELS,
    likeness,
    thumbnail,
)
from unmask.pipeline.faces.find import Place
from unmask.pipeline.records import Crops, Video, VideoInfo

# The attributes of an original that decide where and when its fakes are cut.
DECIDING = (
    "file", "media", "index", "window", "box", "landmark", "dropped", "persons", "track",
)  # fmt: skip

# Why a fake lacks a window that its original has.
SHORTER = "shorter_than_original"

# Most that width and height of a fake may be scaled differently, as a share. Encoders pad to whole
# blocks (500x944 beside 500x942); more is another shape, and a box would no longer lie on the face.
STRETCHED = 0.03

# Frame rates that differ by more than this share, while both last equally long within the second
# share: the fake was resampled in time, and its frame i is not frame i of its original.
OTHER_RATE, SAME_LENGTH = 0.01, 0.02


class OtherViewError(Exception):
    """A fake does not show at its original's places what the original shows there."""


@dataclass(frozen=True)
class Places:
    """One person of an original: where and when it was cut.

    index: (N, T) frame numbers.
    window: (N,) numbers of the planned clips.
    box: (N, 4) px of the original's upright frame.
    landmark: (N, 5, 2) px.
    dropped: (window, why) of the other planned clips.
    track: 0 the main person, 1.. the others.
    persons: how many the original shows.
    size: width and height of the original's upright frame, px.
    fps, frames: of the original's file.
    scenes: (N, 32, 32, 3) thumbnails of the original's crops on their anchor frames.
    """

    index: NDArray[np.int64]
    window: NDArray[np.int64]
    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    dropped: tuple[tuple[int, str], ...]
    track: int
    persons: int
    size: tuple[int, int]
    fps: float
    frames: int
    scenes: NDArray[np.uint8]

    def find(self, info: VideoInfo) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The original's windows that a fake has in full, (M, T), and which of the N those are.

        Raises: VideoError too_short when it has none.
        """
        windows, there = find_windows(info, self.index)
        if not len(windows):
            raise VideoError(
                "too_short",
                f"{info.frames} frames hold none of the {len(there)} clips of its original",
            )
        return windows, there

    def boxes(self, info: VideoInfo, there: NDArray[np.bool_]) -> list[Place]:
        """Box and landmarks of the chosen clips in px of the fake's upright frame, for find_crops.

        Raises: OtherViewError for a fake of another shape, or resampled in time.
        """
        scale = np.array([info.width, info.height]) / self.size
        if max(scale) > (1 + STRETCHED) * min(scale):
            width, height = self.size
            raise OtherViewError(f"{info.width}x{info.height} px, its original {width}x{height} px")
        if info.numbers is None and self._resampled(info):
            raise OtherViewError(f"{info.fps:g} frames a second, its original {self.fps:g}")
        box, landmark = self.box[there], self.landmark[there]
        if (scale != 1).any():  # whole numbers are the middles of pixels
            box = ((box + 0.5) * np.tile(scale, 2) - 0.5).astype(np.float32)
            landmark = ((landmark + 0.5) * scale - 0.5).astype(np.float32)
        return list(zip(box, landmark, strict=True))

    def compare(self, crops: Crops, there: NDArray[np.bool_]) -> None:
        """Look whether the fake's crops show what the original's do, the forged face aside.

        Raises: OtherViewError where most clips look like another scene.
        """
        middle = crops.pixels.shape[1] // 2
        unlike = 0
        for scene, clip in zip(self.scenes[there], crops.pixels, strict=True):
            levels, correlation = likeness(scene, thumbnail(clip[middle]))
            unlike += levels > FACE_CUT_LEVELS and correlation < FACE_CUT_CORRELATION
        if 2 * unlike > len(crops.pixels):
            raise OtherViewError(f"{unlike} of {len(crops.pixels)} clips show another scene")

    def named(self, crops: Crops, there: NDArray[np.bool_]) -> Crops:
        """The fake's crops with window numbers, dropped windows and track of the original."""
        lacking = tuple((int(window), SHORTER) for window in self.window[~there])
        dropped = tuple(sorted((*self.dropped, *lacking)))
        return replace(
            crops,
            window=self.window[there],
            dropped=dropped,
            persons=self.persons,
            track=self.track,
        )

    def _resampled(self, info: VideoInfo) -> bool:
        rate, count = info.fps / self.fps, info.frames / self.frames
        same_length = abs(count / rate - 1) <= SAME_LENGTH
        return abs(rate - 1) > OTHER_RATE and same_length and abs(count - 1) > SAME_LENGTH


def places_of(video: Video, parent: Path) -> list[Places]:
    """The persons of the original a fake was made from, main person first; empty where the cache
    has no original.
    """
    try:
        return [_read(folder) for folder in originals(video, parent)]
    except (
        CacheError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ):  # damaged since: as long as it is not repaired there is no original
        return []


def origin_of(video: Video, parent: Path) -> str:
    """A sum of everything that places_of would give, "" where it gives nothing: with another
    original a fake is another one too.
    """
    try:
        origin = [
            {name: attributes.get(name) for name in DECIDING}
            for attributes in (open_video(path).attributes for path in originals(video, parent))
        ]
    except CacheError:
        return ""
    return hashlib.sha256(canonical(origin).encode()).hexdigest() if origin else ""


def originals(video: Video, parent: Path) -> Sequence[Path]:
    """The groups of the original a fake was made from, main person first; empty where the cache
    has none, or where the fake was stretched in time.
    """
    if not video.pair_id or video.fake_spans or not is_committed(parent / video.pair_id):
        return []
    others = {
        int(suffix): folder
        for folder in parent.glob(f"{video.pair_id}--*")
        if (suffix := folder.name.removeprefix(f"{video.pair_id}--")).isdigit()
        and is_committed(folder)
    }
    return [parent / video.pair_id, *(others[track] for track in sorted(others))]


def _read(folder: Path) -> Places:
    """Raises: CacheError when the group is damaged."""
    cached = open_video(folder)
    attributes, media = cached.attributes, cached.attributes["media"]
    middle = cached.shape[1] // 2
    clip = cached.empty(1)
    scenes = []
    for number in range(cached.clips):
        cached.read_clip(number, clip[0])
        scenes.append(thumbnail(clip[0, middle]))
    return Places(
        index=np.array(attributes["index"], np.int64),
        window=np.array(attributes["window"], np.int64),
        box=np.array(attributes["box"], np.float32),
        landmark=np.array(attributes["landmark"], np.float32),
        dropped=tuple((int(window), str(why)) for window, why in attributes["dropped"]),
        track=int(attributes["track"]),
        persons=int(attributes["persons"]),
        size=(int(media["width"]), int(media["height"])),
        fps=float(media["fps"]),
        frames=int(media["frames"]),
        scenes=np.stack(scenes),
    )
