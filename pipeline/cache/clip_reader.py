"""One way to read a video's clips, whatever stores them: a cache folder, an exported file, a folder
of pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.errors import CacheError


class ClipReader(ABC):
    """The clips of one video. A kind of storage gives `read`, `empty` and `lacks`; the rest
    follows.

    shape: (N, T, S, S, 3) of the crops.
    arrays: names it holds, out of crops, bands and masks.
    """

    shape: tuple[int, ...]
    arrays: tuple[str, ...]

    @property
    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """What the storage says of the video: label, dataset, key, pair, settings ..."""

    @abstractmethod
    def read(self, array: str, clip: int, out: NDArray) -> None:
        """Fill `out`, one clip of one of `arrays`.

        Raises CacheError when it is damaged, IndexError for a clip there is not, ValueError for
        room of another shape or type.
        """

    @abstractmethod
    def empty(self, count: int, array: str = "crops") -> NDArray:
        """Room for `count` clips of one of `arrays`, in the memory order that reading fills
        fastest.
        """

    @abstractmethod
    def lacks(self, array: str) -> CacheError:
        """What to say when an array is asked for that is not there."""

    @property
    def clips(self) -> int:
        return self.shape[0]

    def array_shape(self, array: str) -> tuple[int, ...]:
        """Shape of one of `arrays`, its first axis the clips."""
        return (self.clips, *self.empty(0, array).shape[1:])

    def read_clip(self, clip: int, out: NDArray[np.uint8]) -> None:
        """Fill `out` (T, S, S, 3) with one clip. Raises as `read`."""
        self.read("crops", clip, out)

    def read_clips(
        self, array: str, clips: Sequence[int] | None = None, out: NDArray | None = None
    ) -> NDArray:
        """(n, ...) of the chosen clips of an array in their order, of all N without a choice, into
        `out` or new memory.

        Raises as `read`, and CacheError when the video has no such array.
        """
        if array not in self.arrays:
            raise self.lacks(array)
        clips = range(self.clips) if clips is None else clips
        out = self.empty(len(clips), array) if out is None else out
        if len(out) != len(clips):
            raise ValueError(f"{len(clips)} clips do not fit {len(out)} places")
        for row, clip in enumerate(clips):
            self.read(array, int(clip), out[row])
        return out

    def read_crops(
        self, clips: Sequence[int] | None = None, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """(n, T, S, S, 3) uint8 RGB of the chosen clips. Raises as `read_clips`."""
        return self.read_clips("crops", clips, out)

    def read_bands(
        self, clips: Sequence[int] | None = None, out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """(n, T, 3, K) float16 DCT coefficients (cache/bands.py). Raises as `read_clips`."""
        return self.read_clips("bands", clips, out)

    def read_masks(
        self, clips: Sequence[int] | None = None, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """(n, T, S, S) uint8, 255 where manipulated. Raises as `read_clips`."""
        return self.read_clips("masks", clips, out)
