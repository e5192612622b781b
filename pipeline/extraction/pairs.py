"""A fake is cut when and where its original is: what the cache says of the original's clips
(`--pair-boxes`).

Otherwise the crop itself may give the label away (datasets sheet, section 15.6). Frame i of a fake
is frame i of its original in every dataset that names pairs, but not where words were replaced:
LAV-DF stretches its fakes in time (sheet, section 5), so a fake with spans in seconds is cut by its
own faces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.video import is_committed, open_video
from unmask.pipeline.decode.windows import find_windows
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import Crops, Video, VideoInfo

# Why a fake lacks a window that its original has.
SHORTER = "shorter_than_original"


@dataclass(frozen=True)
class Places:
    """One person of an original.

    index: (N, T) frame numbers.
    window, box, landmark: as in Crops.
    """

    index: NDArray[np.int64]
    window: NDArray[np.int64]
    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    dropped: tuple[tuple[int, str], ...]
    track: int

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

    def boxes(
        self, there: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Box and landmarks of the chosen clips, for find_crops."""
        return list(zip(self.box[there], self.landmark[there], strict=True))

    def named(self, crops: Crops, there: NDArray[np.bool_]) -> Crops:
        """The fake's crops with window numbers, dropped windows and track of the original."""
        lacking = tuple((int(window), SHORTER) for window in self.window[~there])
        dropped = tuple(sorted((*self.dropped, *lacking)))
        return replace(crops, window=self.window[there], dropped=dropped, track=self.track)


def places_of(video: Video, parent: Path) -> list[Places]:
    """The persons of the original a fake was made from, main person first; empty where the cache
    has no original.
    """
    if not video.pair_id or video.fake_spans or not is_committed(parent / video.pair_id):
        return []
    others = [folder for folder in parent.glob(f"{video.pair_id}--*") if is_committed(folder)]
    found = [_read(folder) for folder in (parent / video.pair_id, *others)]
    return sorted(found, key=lambda places: places.track)


def _read(folder: Path) -> Places:
    said = open_video(folder).attributes
    return Places(
        index=np.array(said["index"], np.int64),
        window=np.array(said["window"], np.int64),
        box=np.array(said["box"], np.float32),
        landmark=np.array(said["landmark"], np.float32),
        dropped=tuple((int(window), str(why)) for window, why in said["dropped"]),
        track=int(said["track"]),
    )
