"""A fake out of one real clip: a copy of it is changed a little and pasted back through a
face-shaped mask, so that all there is to find is the seam and what does not fit across it.

Self-blended images (Shiohara and Yamasaki, CVPR 2022, arXiv 2204.08376), as clips in the manner of
FakeSTormer (Nguyen et al., ICCV 2025, arXiv 2501.01184), written from their descriptions. Ours:
masks from box and five points (face_hull.py), the follow step, the flicker, rounding instead of
cutting, replicated borders, sizes relative to a crop of 240 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.models.recipes.blends import BlendSpec
from unmask.pipeline.clips.copied_face import (
    Colour,
    CopyDraw,
    draw_colour,
    draw_copy,
    match_colours,
    recolour,
)
from unmask.pipeline.clips.face_hull import (
    Face,
    HullDraw,
    SoftDraw,
    border_ramp,
    draw_hull,
    draw_soft,
    face_of,
    hull,
    soften,
)
from unmask.pipeline.clips.face_motion import moves, point_moves

# Px below are those of a crop of this side.
USUAL_SIDE = 240
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
# The elastic field is drawn on a grid of every fourth pixel: at its sigma of 7 px nothing is lost.
COARSE = 4
ELASTIC_SIGMA, ELASTIC_PX = 7.0, 50.0


@dataclass(frozen=True)
class Draw:
    """All random numbers of one self-blended clip.

    on_source: the colour step changes the pasted copy, else what it is pasted into.
    shift: px, scale: factors of the copy and its mask, (x, y).
    noise: (2, s, s) of the elastic field.
    ratio: of the paste, before flicker; gains, ratios: (T,) factors and jitter (T, 2) px a frame.
    """

    on_source: bool
    colour: Colour
    hull: HullDraw
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    noise: NDArray[np.float32]
    soft: SoftDraw
    ratio: float
    gains: NDArray[np.float64]
    ratios: NDArray[np.float64]
    jitter: NDArray[np.float64]
    copy: CopyDraw


def draw_blend(rng: np.random.Generator, frames: int, side: int, spec: BlendSpec) -> Draw:
    """The numbers of one clip; as many are drawn whatever the settings switch off."""
    on_source = bool(rng.random() < 0.5)
    colour = draw_colour(rng, spec)
    shape = draw_hull(rng, spec.kinds)
    shift, scale = rng.uniform(-1, 1, 2) * (8, 5), rng.uniform(0.95, 1 / 0.95, 2)
    noise = rng.uniform(-1, 1, (2, *(-(-side // COARSE),) * 2)).astype(np.float32)
    soft, ratio = draw_soft(rng), RATIOS[int(rng.integers(len(RATIOS)))]
    flickers = frames > 1 and rng.random() < spec.temporal
    gains, ratios = rng.normal(1, 0.01, frames), rng.uniform(0.9, 1, frames)
    jitter = _wander(rng, frames)
    copy = draw_copy(rng, spec)
    if not flickers:
        gains, ratios, jitter = np.ones(frames), np.ones(frames), np.zeros((frames, 2))
    if not spec.affine:
        shift, scale = np.zeros(2), np.ones(2)
        jitter = np.zeros((frames, 2))
    if not spec.colour:
        gains = np.ones(frames)
    return Draw(
        on_source, colour, shape, shift, scale, noise, soft, ratio, gains, ratios, jitter, copy
    )


def _wander(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """(T, 2) px: AR(1) with rho 0.7 and a spread of half a pixel, 1.5 px at most."""
    steps = rng.normal(0, 0.5, (frames, 2))
    for t in range(1, frames):
        steps[t] = 0.7 * steps[t - 1] + np.sqrt(1 - 0.7**2) * steps[t]
    return np.clip(steps, -1.5, 1.5)


def self_blend(
    clip: NDArray[np.uint8],
    box: NDArray | None,
    landmark: NDArray | None,
    rng: np.random.Generator,
    spec: BlendSpec,
    parts: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """(T, 3, S, S) uint8 -> the real and the fake half of a pair, both (T, 3, S, S), and the mask
    (T, 1, S, S), all uint8.

    The mask is round(255 m) with m before the ratio; the fake equals the real half where it is 0.
    The real half is the clip, or the clip after its colour step where that changed the target: a
    colour step alone must not mean fake.
    box: (4,) and landmark: (5, 2) px of the crop, or (P, 4) and (P, 5, 2) of the cached clips that
        the frames are of; None or an impossible one is replaced by the mean face.
    parts: (T,) which of these clips each frame is of. The face is placed, and followed, in each.
    rng: all random numbers, none of which depends on a pixel.
    """
    frames = np.ascontiguousarray(clip.transpose(0, 2, 3, 1))  # (T,S,S,3)
    draw = draw_blend(rng, len(frames), frames.shape[1], spec)
    real, source = halves(frames, draw, spec)
    fake, mask = pasted(frames, real, source, draw, spec, box, landmark, parts)
    return real.transpose(0, 3, 1, 2), fake.transpose(0, 3, 1, 2), mask[:, None]


def halves(
    frames: NDArray[np.uint8], draw: Draw, spec: BlendSpec
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The real half (the target) and the copy to paste, (T, S, S, 3), before it is moved."""
    if not spec.colour:
        return frames, frames
    changed = recolour(frames, draw.colour, spec.hsv, draw.copy)
    return (frames, changed) if draw.on_source else (changed, frames)


def real_half(
    frames: NDArray[np.uint8], rng: np.random.Generator, spec: BlendSpec
) -> NDArray[np.uint8]:
    """The real half of a pair alone: what self_blend gives for the same numbers, without pasting.
    (T, S, S, 3) -> the same.
    """
    draw = draw_blend(rng, len(frames), frames.shape[1], spec)
    return frames if draw.on_source else halves(frames, draw, spec)[0]


def pasted(
    frames: NDArray[np.uint8],
    real: NDArray[np.uint8],
    source: NDArray[np.uint8],
    draw: Draw,
    spec: BlendSpec,
    box: NDArray | None,
    landmark: NDArray | None,
    parts: NDArray[np.int64] | None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The fake half (T, S, S, 3) and its mask (T, S, S)."""
    count, side = frames.shape[:2]
    parts = np.zeros(count, np.int64) if parts is None else parts
    boxes = [None] if box is None else np.reshape(box, (-1, 4))
    points = [None] * len(boxes) if landmark is None else np.reshape(landmark, (-1, 5, 2))
    field = elastic_field(draw.noise, side) if spec.elastic else None
    fake, mask = np.empty_like(frames), np.empty(frames.shape[:3], np.uint8)
    scale = side / USUAL_SIDE
    for part in dict.fromkeys(parts.tolist()):
        own = np.flatnonzero(parts == part)
        face = face_of(boxes[part], points[part], side)
        follow = np.zeros((len(own), 2))
        if spec.follow == "points" and points[part] is not None:
            follow = point_moves(frames[own], points[part])
        elif spec.follow != "none" and len(own) > 1:
            follow = moves(frames[own], face.centre)
        still = _mask_at_rest(face, draw, field, side)
        for place, aside in zip(own.tolist(), follow, strict=True):
            offset = aside + draw.jitter[place] * scale
            mask[place] = _moved(still, offset)
            there = _affine(face.centre + aside, draw, offset - aside, scale)
            fake[place] = compose(
                real[place],
                source[place],
                there,
                mask[place],
                draw.ratio * draw.ratios[place],
                draw.gains[place],
                matched="matched" in draw.copy.steps,
            )
    return fake, mask


def _affine(
    centre: NDArray[np.float64], draw: Draw, jitter: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """(2, 3): scaled about the face's centre and shifted."""
    matrix = np.diag(draw.scale)
    return np.column_stack([matrix, centre - matrix @ centre + draw.shift * scale + jitter])


def _mask_at_rest(
    face: Face, draw: Draw, field: NDArray[np.float32] | None, side: int
) -> NDArray[np.uint8]:
    """(S, S) the soft mask where the face is in the middle frame."""
    matrix = _affine(face.centre, draw, np.zeros(2), side / USUAL_SIDE)
    hard = hull(face, draw.hull, matrix, side)
    if field is not None:
        hard = cv2.remap(hard, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return soften(hard, draw.soft, face.area)


def _moved(mask: NDArray[np.uint8], offset: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A mask shifted by (x, y) px and ended before the border of the crop."""
    side = len(mask)
    if offset.any():
        matrix = np.array([[1, 0, offset[0]], [0, 1, offset[1]]])
        mask = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return cv2.multiply(mask, border_ramp(side), scale=1 / 255)


def elastic_field(noise: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(S, S, 2) where each pixel of the bent mask is taken from: white noise in -1..1, smoothed
    with sigma 7 px, times 50 px.
    """
    sigma = ELASTIC_SIGMA * side / USUAL_SIDE / COARSE
    # The mean over a smaller kernel varies more; what is lost on the coarse grid comes back.
    smooth = np.stack([cv2.GaussianBlur(n, (0, 0), sigma) for n in noise], -1)
    wide = cv2.resize(
        smooth * np.float32(ELASTIC_PX * side / USUAL_SIDE / COARSE),
        (COARSE * noise.shape[2], COARSE * noise.shape[1]),
        interpolation=cv2.INTER_CUBIC,
    )[:side, :side]
    return wide + _places(side)


@cache
def _places(side: int) -> NDArray[np.float32]:
    """(S, S, 2) x and y of every pixel."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    places = np.stack([x, y], -1)
    places.flags.writeable = False
    return places


def compose(
    target: NDArray[np.uint8],
    source: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    mask: NDArray[np.uint8],
    ratio: float,
    gain: float = 1.0,
    matched: bool = False,
) -> NDArray[np.uint8]:
    """target + ratio m (source - target), rounded to nearest; (S, S, 3) uint8.

    Cutting instead would take half a level off every blended pixel: a label by itself.
    matrix: (2, 3) that the source is moved by, its border pixels going on outwards.
    mask: (S, S) uint8, 255 m. gain: factor of the source. matched: its colours are first those of
        the target (match_colours).
    """
    fake = target.copy()
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return fake
    inside = np.s_[y : y + height, x : x + width]
    moved = matrix.copy()
    moved[:, 2] -= (x, y)
    copy = cv2.warpAffine(
        source, moved, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if matched:
        copy = match_colours(copy, target[inside], mask[inside])
    if gain != 1:
        copy = cv2.convertScaleAbs(copy, alpha=gain)
    weight = mask[inside].astype(np.float32) * np.float32(ratio / 255)
    fake[inside] = cv2.blendLinear(copy, target[inside], weight, 1 - weight)
    return fake
