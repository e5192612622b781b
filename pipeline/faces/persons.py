"""Persons through a long video: the persons of each stretch of clips are joined to those of the
stretches before.

find_crops follows persons within the clips it is given and needs them all; a video of hours comes
in stretches, and only looks and boxes of what came before are kept. Source of the rule:
pipeline/faces/tracks.py, whose thresholds these are; ours because a long video must not lie in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from unmask.pipeline.faces.looks import describe, look_distance
from unmask.pipeline.faces.tracks import GATE, OVERLAP, SAME_LOOK, overlap
from unmask.pipeline.records import Crops

# Looks remembered of one person: the first ones, which another stretch is compared with, and the
# last ones.
LOOKS = 12

# A box that overlaps the last one by this much, at most this many seconds later, may look less
# alike.
NEAR_OVERLAP, NEAR_SECONDS = 0.3, 2.0

# Nobody else is taken for a person who was lost: what an impossible pair costs in the assignment.
IMPOSSIBLE = 2.0


@dataclass
class Person:
    """Where one person was found: per clip the anchor frame's number, time in seconds and box,
    px.
    """

    index: list[int] = field(default_factory=list)
    pts: list[float] = field(default_factory=list)
    box: list[NDArray[np.float32]] = field(default_factory=list)
    looks: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Presence x size, as in tracks.follow: sum of face sides, px."""
        extent = np.array([box[2:] - box[:2] for box in self.box]).clip(min=1)
        return float(np.sqrt(extent.prod(1)).sum())

    def add(self, crops: Crops) -> None:
        """One more stretch of this person."""
        middle = crops.index.shape[1] // 2
        self.index += crops.index[:, middle].tolist()
        self.pts += crops.pts[:, middle].tolist()
        self.box += list(crops.box)
        self.looks += looks_of(crops)
        if len(self.looks) > LOOKS:
            self.looks = self.looks[: LOOKS // 2] + self.looks[-LOOKS // 2 :]


def looks_of(crops: Crops) -> list[NDArray[np.float32]]:
    """Looks of at most LOOKS clips spread over a stretch."""
    chosen = np.unique(
        np.linspace(0, len(crops.pixels) - 1, min(LOOKS, len(crops.pixels))).round().astype(int)
    )
    return [describe(crops.pixels[number, crops.pixels.shape[1] // 2]) for number in chosen]


def join(known: list[Person], stretch: Sequence[Crops]) -> list[int]:
    """Add a stretch's persons to the known ones, or to new ones at the end of the list; the place
    of each.
    """
    cost = np.array([[_cost(person, crops) for crops in stretch] for person in known])
    cost = cost.reshape(len(known), len(stretch))  # either may be nobody
    rows, columns = linear_sum_assignment(cost)
    found = {int(c): int(r) for r, c in zip(rows, columns, strict=True) if cost[r, c] < IMPOSSIBLE}
    places = []
    for number, crops in enumerate(stretch):
        if number not in found:
            known.append(Person())
        place = found.get(number, len(known) - 1)
        known[place].add(crops)
        places.append(place)
    return places


def _cost(person: Person, crops: Crops) -> float:
    look = min(look_distance(old, new) for old in person.looks for new in looks_of(crops))
    middle = crops.pts.shape[1] // 2
    near = float(crops.pts[0, middle]) - person.pts[-1] <= NEAR_SECONDS
    covered = overlap(person.box[-1], crops.box[0]) if near else 0.0
    same = look < SAME_LOOK or (covered > NEAR_OVERLAP and look < GATE)
    return look - OVERLAP * covered if same else IMPOSSIBLE
