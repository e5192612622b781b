"""Which face on the anchor of one clip is which on the anchors of the others: association into
persons.

Comes in: per clip the boxes, looks and scene of its anchor frame; anchors lie seconds apart. Goes
out: tracks, the main person first. Ours because the usual per-frame "largest face" changes person:
measured on a crowd, its centre jumps by 60 % of a face size between neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from unmask.pipeline.faces.cuts import likeness
from unmask.pipeline.faces.looks import look_distance

# Cost of one person being that face: distance of looks, plus what the place says while the shot
# lasts. Looks alone of the same person lie below 0.40 in 90 % of pairs, of two persons above 0.51
# in 95 % (real videos, up to 7 s).
GATE = 0.6
FAR = 0.1  # per face size that the centre moved, counted up to two
RESIZED = 0.1  # per doubling of the size
OVERLAP = 0.2  # off for a box that lies where the last one lay
OTHER_SHOT = 0.1  # instead of all that when the picture behind has changed

# Two tracks never seen on one anchor are one person when any two of their looks are this close.
SAME_LOOK = 0.35

# Two anchors show different shots when their thumbnails differ by more grey levels and correlate
# less than this.
SHOT_LEVELS, SHOT_CORRELATION = 12.0, 0.8


@dataclass(frozen=True)
class Anchor:
    """The faces of one clip's middle frame: box (F, 4) px, look (F, D), scene (32, 32, 3)
    thumbnail.
    """

    box: NDArray[np.float32]
    look: NDArray[np.float32]
    scene: NDArray[np.uint8]


@dataclass(frozen=True)
class Track:
    """One person: where it was found, as (anchor, face) pairs in order of anchors; its presence x
    size, px.
    """

    faces: tuple[tuple[int, int], ...]
    weight: float


def _side(box: NDArray) -> float:
    return float(np.sqrt(max(box[2] - box[0], 1) * max(box[3] - box[1], 1)))


def overlap(first: NDArray, second: NDArray) -> float:
    """Intersection over union of two boxes."""
    inter = np.maximum(
        np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0
    ).prod()
    return float(
        inter / max((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - inter, 1e-6)
    )


def _cost(anchors: Sequence[Anchor], track: list[tuple[int, int]], number: int, face: int) -> float:
    """Cost of the track going on with this face; the look may match any earlier one, the place the
    last one.
    """
    now, last, before = anchors[number], anchors[track[-1][0]], track[-1][1]
    look = min(look_distance(anchors[n].look[f], now.look[face]) for n, f in track)
    levels, correlation = likeness(last.scene, now.scene)
    if levels > SHOT_LEVELS and correlation < SHOT_CORRELATION:
        return look + OTHER_SHOT
    old, new = last.box[before].astype(np.float64), now.box[face].astype(np.float64)
    moved = np.hypot(*((new[:2] + new[2:] - old[:2] - old[2:]) / 2)) / (
        (_side(old) + _side(new)) / 2
    )
    resized = abs(np.log2(_side(new) / _side(old)))
    return look + FAR * min(moved, 2) + RESIZED * resized - OVERLAP * overlap(old, new)


def _link(anchors: Sequence[Anchor]) -> list[list[tuple[int, int]]]:
    """Anchor after anchor, the cheapest assignment of all faces to all persons so far; a lost
    person can return.
    """
    tracks: list[list[tuple[int, int]]] = []
    for number, anchor in enumerate(anchors):
        faces = range(len(anchor.box))
        cost = np.array([[_cost(anchors, t, number, f) for f in faces] for t in tracks])
        cost = cost.reshape(len(tracks), len(faces))
        # Clipped at the gate, an impossible pair costs the same everywhere and cannot push others
        # apart.
        pairs = zip(*linear_sum_assignment(np.minimum(cost, GATE)), strict=True)
        known = {int(f): int(t) for t, f in pairs if cost[t, f] < GATE}
        for face in faces:
            if face in known:
                tracks[known[face]].append((number, face))
            else:
                tracks.append([(number, face)])
    return tracks


def _merge(
    anchors: Sequence[Anchor], tracks: list[list[tuple[int, int]]]
) -> list[list[tuple[int, int]]]:
    """Join the pieces of one person: closest looks first, never two faces of one anchor."""
    while True:
        best, pair = SAME_LOOK, None
        for i, first in enumerate(tracks):
            for j in range(i):
                if {n for n, _ in first} & {n for n, _ in tracks[j]}:
                    continue
                look = min(
                    look_distance(anchors[n].look[f], anchors[m].look[g])
                    for n, f in first
                    for m, g in tracks[j]
                )
                if look < best:
                    best, pair = look, (j, i)
        if pair is None:
            return tracks
        keep, gone = pair
        tracks[keep] = sorted(tracks[keep] + tracks[gone])
        del tracks[gone]


def associate(anchors: Sequence[Anchor]) -> list[Track]:
    """Join the faces of a video's anchors into persons, the main person first.

    The main person has the largest presence x size: the sum of its face sides (square root of the
    box area, px) over the anchors it is seen on. Equal sums: who appears first, then who is larger
    there. Deterministic.
    """
    tracks = _merge(anchors, _link(anchors))
    weighted = [Track(tuple(t), sum(_side(anchors[n].box[f]) for n, f in t)) for t in tracks]
    return sorted(weighted, key=lambda track: (-track.weight, track.faces))
