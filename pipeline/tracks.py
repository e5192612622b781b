"""Which face on the anchor of one clip is which on the anchors of the others: association into persons.

Comes in: per clip the boxes, looks and scene of its anchor frame; anchors lie seconds apart. Goes out: tracks, the
main person first. Ours because the usual per-frame "largest face" changes person: measured on a crowd, its centre
jumps by 60 % of a face size between neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.reduce import reduce_to

# Cost of one person being that face: distance of looks, plus what the place says while the shot lasts. Looks alone
# of the same person lie below 0.40 in 90 % of pairs, of two persons above 0.51 in 95 % (real videos, up to 7 s).
GATE = 0.6
FAR = 0.1  # per face size that the centre moved, counted up to two
RESIZED = 0.1  # per doubling of the size
OVERLAP = 0.2  # off for a box that lies where the last one lay
OTHER_SHOT = 0.1  # instead of all that when the picture behind has changed

# Two tracks never seen on one anchor are one person when any two of their looks are this close.
SAME_LOOK = 0.35

# Two anchors show different shots when their thumbnails differ by more grey levels and correlate less than this.
SHOT_LEVELS, SHOT_CORRELATION = 12.0, 0.8

GREY_SIDE, COLOUR_SIDE = 16, 60


@dataclass(frozen=True)
class Anchor:
    """The faces of one clip's middle frame: box (F, 4) px, look (F, D), scene (32, 32, 3) thumbnail."""

    box: NDArray[np.float32]
    look: NDArray[np.float32]
    scene: NDArray[np.uint8]


@dataclass(frozen=True)
class Track:
    """One person: where it was found, as (anchor, face) pairs in order of anchors; its presence x size, px."""

    faces: tuple[tuple[int, int], ...]
    weight: float


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (32, 32, 3) uint8; every n-th pixel first: averaging a full frame costs more than the crop."""
    step = sparse_step(*picture.shape[:2])
    height, width = (length // step for length in picture.shape[:2])
    # The pixels of [::step, ::step], without a last incomplete step; numpy takes five times as long to gather them.
    whole = picture[: height * step, : width * step]
    return shrink(cv2.resize(whole, (width, height), interpolation=cv2.INTER_NEAREST))


def sparse_step(height: int, width: int) -> int:
    """Every how many px a thumbnail looks: at 120 places or a few more along the long side."""
    return max(1, max(height, width) // 120)


def shrink(sparse: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels a thumbnail looks at -> (32, 32, 3) uint8."""
    return reduce_to(np.ascontiguousarray(sparse), 32, 32)


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean difference in grey levels and correlation (-1 to 1) of two thumbnails; flat ones correlate 0."""
    return likenesses(np.stack([first, second]))[0]


def likenesses(thumbnails: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """The same for each step of a series of thumbnails (n, 32, 32, 3): n - 1 pairs."""
    series = thumbnails.reshape(len(thumbnails), -1, 3).astype(np.float32)
    levels = np.abs(series[1:] - series[:-1]).mean((1, 2))
    grey = series @ np.full(3, 1 / 3, np.float32)
    grey -= grey.mean(1, keepdims=True)
    product = (grey[1:] * grey[:-1]).sum(1)
    power = np.sqrt((grey[1:] ** 2).sum(1) * (grey[:-1] ** 2).sum(1))
    # Rounding leaves a flat picture a power of about 1e-6.
    alike = np.divide(product, power, out=np.zeros_like(power), where=power > 1e-2)
    return list(zip(levels.tolist(), alike.tolist(), strict=True))


def describe(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How an aligned face looks, (S, S, 3) -> (256 + 600,) float32: grey layout of unit length, Lab histogram."""
    side = GREY_SIDE
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)
    layout = grey.astype(np.float32).ravel()
    layout -= layout.mean()
    layout /= max(float(np.linalg.norm(layout)), 1e-6)
    reduced = cv2.resize(crop, (COLOUR_SIDE, COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    light, a, b = cv2.split(cv2.cvtColor(reduced, cv2.COLOR_RGB2LAB).astype(np.int64))
    # 6 x 10 x 10 bins; the chroma of skin, hair and cloth lies within 30 of neutral grey (128)
    bins = light // 43 * 100 + np.clip((a - 100) // 6, 0, 9) * 10 + np.clip((b - 100) // 6, 0, 9)
    colours = np.bincount(bins.ravel(), minlength=600).astype(np.float32) / bins.size
    return np.concatenate([layout, colours])


def look_distance(first: NDArray, second: NDArray) -> float:
    """0 for the same picture, about 1 for unrelated ones: half correlation of layout, half histogram overlap."""
    split = GREY_SIDE**2
    layout = 1 - float(first[:split] @ second[:split])
    colours = 1 - float(np.minimum(first[split:], second[split:]).sum())
    return (layout + colours) / 2


def _side(box: NDArray) -> float:
    return float(np.sqrt(max(box[2] - box[0], 1) * max(box[3] - box[1], 1)))


def overlap(first: NDArray, second: NDArray) -> float:
    """Intersection over union of two boxes."""
    inter = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0).prod()
    return float(inter / max((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - inter, 1e-6))


def _cost(anchors: Sequence[Anchor], track: list[tuple[int, int]], number: int, face: int) -> float:
    """Cost of the track going on with this face; the look may match any earlier one, the place the last one."""
    now, last, before = anchors[number], anchors[track[-1][0]], track[-1][1]
    look = min(look_distance(anchors[n].look[f], now.look[face]) for n, f in track)
    levels, correlation = likeness(last.scene, now.scene)
    if levels > SHOT_LEVELS and correlation < SHOT_CORRELATION:
        return look + OTHER_SHOT
    old, new = last.box[before].astype(np.float64), now.box[face].astype(np.float64)
    moved = np.hypot(*((new[:2] + new[2:] - old[:2] - old[2:]) / 2)) / ((_side(old) + _side(new)) / 2)
    resized = abs(np.log2(_side(new) / _side(old)))
    return look + FAR * min(moved, 2) + RESIZED * resized - OVERLAP * overlap(old, new)


def _link(anchors: Sequence[Anchor]) -> list[list[tuple[int, int]]]:
    """Anchor after anchor, the cheapest assignment of all faces to all persons so far; a lost person can return."""
    tracks: list[list[tuple[int, int]]] = []
    for number, anchor in enumerate(anchors):
        faces = range(len(anchor.box))
        cost = np.array([[_cost(anchors, t, number, f) for f in faces] for t in tracks])
        cost = cost.reshape(len(tracks), len(faces))
        # Clipped at the gate, an impossible pair costs the same everywhere and cannot push others apart.
        pairs = zip(*linear_sum_assignment(np.minimum(cost, GATE)), strict=True)
        known = {int(f): int(t) for t, f in pairs if cost[t, f] < GATE}
        for face in faces:
            if face in known:
                tracks[known[face]].append((number, face))
            else:
                tracks.append([(number, face)])
    return tracks


def _merge(anchors: Sequence[Anchor], tracks: list[list[tuple[int, int]]]) -> list[list[tuple[int, int]]]:
    """Join the pieces of one person: closest looks first, never two faces of one anchor."""
    while True:
        best, pair = SAME_LOOK, None
        for i, first in enumerate(tracks):
            for j in range(i):
                if {n for n, _ in first} & {n for n, _ in tracks[j]}:
                    continue
                look = min(
                    look_distance(anchors[n].look[f], anchors[m].look[g]) for n, f in first for m, g in tracks[j]
                )
                if look < best:
                    best, pair = look, (j, i)
        if pair is None:
            return tracks
        keep, gone = pair
        tracks[keep] = sorted(tracks[keep] + tracks[gone])
        del tracks[gone]


def follow(anchors: Sequence[Anchor]) -> list[Track]:
    """Join the faces of a video's anchors into persons, the main person first.

    The main person has the largest presence x size: the sum of its face sides (square root of the box area, px) over
    the anchors it is seen on. Equal sums: who appears first, then who is larger there. Deterministic.
    """
    tracks = _merge(anchors, _link(anchors))
    weighted = [Track(tuple(t), sum(_side(anchors[n].box[f]) for n, f in t)) for t in tracks]
    return sorted(weighted, key=lambda track: (-track.weight, track.faces))
