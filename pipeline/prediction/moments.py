"""The few moments of a video that a report shows with pictures, chosen while it is read.

Time is cut into equal slots; of each person and slot the sample that looks most like a fake is
kept, so that memory is bounded and nothing suspicious is left out because it fell between two
samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Bytes of pixels that the moments of one person may take, and slots of a whole video.
ROOM, SLOTS, FEWEST = 32 * 2**20, 40, 6


@dataclass(frozen=True)
class Moment:
    """One shown sample. place: whose.

    start, end: seconds.
    score: before calibration.
    pixels: (T,S,S,3).
    """

    place: int
    start: float
    end: float
    score: float
    pixels: NDArray[np.uint8]


@dataclass
class Keeper:
    """Takes offers, keeps the highest score of each slot. first, last: seconds of the video."""

    first: float
    last: float
    held: dict[tuple[int, int], Moment] = field(default_factory=dict)

    def offer(
        self, place: int, start: float, end: float, score: float, pixels: NDArray[np.uint8]
    ) -> None:
        """Keep a copy when its slot is empty or holds a lower score."""
        slots = int(np.clip(ROOM // pixels.nbytes, FEWEST, SLOTS))
        share = ((start + end) / 2 - self.first) / max(self.last - self.first, 1e-9)
        slot = int(np.clip(share * slots, 0, slots - 1))
        before = self.held.get((place, slot))
        if before is None or score > before.score:
            self.held[place, slot] = Moment(place, start, end, score, pixels.copy())

    def of(self, place: int) -> list[Moment]:
        """The moments of one person in order of time."""
        return sorted(
            (m for m in self.held.values() if m.place == place), key=lambda m: (m.start, m.end)
        )
