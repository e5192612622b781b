"""The outline of a face from its box and five points, and parts of it as soft masks.

No landmark model is asked: against a 468-point mesh the mean of two tables of an average oval, one
fixed to the box and one to eyes and mouth, covers 48 real faces with an overlap (IoU) of 0.91.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

# Right half of the oval, top to chin. Unit: the box's longer side, from the box's centre.
BOX_HALF = (
    (0, -0.389),
    (0.103, -0.386),
    (0.190, -0.373),
    (0.270, -0.343),
    (0.322, -0.298),
    (0.354, -0.240),
    (0.370, -0.179),
    (0.373, -0.101),
    (0.367, -0.027),
    (0.361, 0.049),
    (0.349, 0.130),
    (0.325, 0.217),
    (0.291, 0.290),
    (0.252, 0.344),
    (0.202, 0.391),
    (0.161, 0.426),
    (0.118, 0.457),
    (0.066, 0.479),
    (0, 0.486),
)
# The same 19 points between the eyes. Units: the eyes' distance across, eyes to mouth down.
EYE_HALF = (
    (0, -0.77),
    (0.31, -0.77),
    (0.57, -0.73),
    (0.80, -0.65),
    (0.96, -0.52),
    (1.05, -0.37),
    (1.10, -0.20),
    (1.11, 0.02),
    (1.09, 0.22),
    (1.07, 0.43),
    (1.04, 0.65),
    (0.97, 0.89),
    (0.86, 1.09),
    (0.75, 1.23),
    (0.60, 1.37),
    (0.48, 1.46),
    (0.35, 1.54),
    (0.20, 1.60),
    (0, 1.63),
)
# Eyes, nose and mouth corners of the mean frontal face and its mirror image, in the box's unit.
MEAN_POINTS = np.array(
    [(-0.168, -0.106), (0.168, -0.106), (0.0, 0.106), (-0.146, 0.257), (0.146, 0.257)]
)
# Width over height of the box that the tables were measured with, and what a face's box can have.
USUAL_RATIO, RATIOS = 0.743, (0.5, 1.2)
USUAL_MARGIN = 1.3
# Eyes to mouth over the eyes' distance of a frontal face; a turned face has closer eyes.
FRONTAL = 1.09

# Kind -> how often: ours. The forehead is pasted in a quarter of the clips, as in SBI.
KINDS = {"oval": 0.25, "brows": 0.45, "inner": 0.15, "lower": 0.15}
POINTS = 2 * (len(BOX_HALF) - 1)


def _whole(half: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """(36, 2): the half table and its mirror image, clockwise from the top."""
    right = np.array(half, np.float64)
    left = right[-2:0:-1] * (-1, 1)
    return np.concatenate([right, left])


BOX_OVAL, EYE_OVAL = _whole(BOX_HALF), _whole(EYE_HALF)


@dataclass(frozen=True)
class Face:
    """Where a face is in its crop, px.

    outline: (36, 2) its oval, clockwise from the top.
    origin: middle of the eyes; across, down: unit vectors, to the right eye and to the mouth.
    width: the eyes' distance as seen from the front; height: from the eyes to the mouth.
    """

    outline: NDArray[np.float64]
    origin: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    width: float
    height: float

    @property
    def area(self) -> float:
        """Of the outline, px squared."""
        return float(cv2.contourArea(self.outline.astype(np.float32)))

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of its outline, (2,)."""
        return self.outline.mean(0)


def face_of(box: NDArray | None, landmark: NDArray | None, side: int) -> Face:
    """The face in a crop of `side` px from its box (4,) and five points (5, 2), px of the crop.

    A box that cannot be one is replaced by that of the usual crop, points that cannot be a face's
    by the mean face in the box, whose oval is then the box's alone. Never raises: a clip is not
    lost to a detector's slip.
    """
    centre, unit, stretch = _box_frame(box, side)
    outline = centre + BOX_OVAL * (unit * stretch, unit)
    points = None if landmark is None else np.asarray(landmark, np.float64)
    trusted = points is not None and _plausible(points, centre, unit)
    if not trusted:
        points = centre + MEAN_POINTS * (unit * stretch, unit)
    left, right, nose, *mouth = points
    origin, eyes = (left + right) / 2, right - left
    across = eyes / np.hypot(*eyes)
    down = np.array([-across[1], across[0]])
    height = float((np.mean(mouth, axis=0) - origin) @ down)
    width = max(float(np.hypot(*eyes)), height / FRONTAL)
    if trusted:
        turned = 1.5 * float((nose - origin) @ across)
        fitted = (
            origin + (EYE_OVAL[:, :1] * width - turned) * across + EYE_OVAL[:, 1:] * height * down
        )
        outline = (outline + fitted) / 2
    return Face(outline, origin, across, down, width, height)


def _box_frame(box: NDArray | None, side: int) -> tuple[NDArray[np.float64], float, float]:
    """Centre, longer side and width over the usual width of a box; of the usual crop's without
    one that can be a face's.
    """
    usual = np.full(2, (side - 1) / 2), side / USUAL_MARGIN, 1.0
    if box is None:
        return usual
    left, top, right, bottom = np.asarray(box, np.float64)
    width, height = right - left, bottom - top
    centre = np.array([left + right, top + bottom]) / 2
    far = not np.isfinite(centre).all() or np.abs(centre - usual[0]).max() > side / 4
    if far or not side / 4 < max(width, height) < 1.5 * side or min(width, height) <= 0:
        return usual
    ratio = float(np.clip(width / height, *RATIOS))
    return centre, float(max(width, height)), ratio / USUAL_RATIO


def _plausible(points: NDArray[np.float64], centre: NDArray[np.float64], unit: float) -> bool:
    """Whether five points can be those of the face in the box: inside it, the eyes apart, the mouth
    below them.
    """
    if not np.isfinite(points).all() or np.abs(points - centre).max() > 0.6 * unit:
        return False
    left, right, nose, *mouth = points
    eyes, middle = right - left, (left + right) / 2
    distance = np.hypot(*eyes)
    if not 0.1 * unit < distance < 0.7 * unit:
        return False
    across = eyes / distance
    height = (np.mean(mouth, axis=0) - middle) @ np.array([-across[1], across[0]])
    return bool(0.15 * unit < height < 0.7 * unit and abs((nose - middle) @ across) < distance)


@dataclass(frozen=True)
class HullDraw:
    """What is drawn of a mask's shape, once a clip.

    kind: of KINDS.
    cut: where `brows` ends above the eyes, heights of eyes to mouth.
    radius: (36,) factor of the outline's points about its centre.
    """

    kind: str
    cut: float
    radius: NDArray[np.float64]


def draw_hull(rng: np.random.Generator, kinds: tuple[str, ...]) -> HullDraw:
    """One of the allowed kinds, as often as KINDS says, and a shape of its own."""
    share = np.array([KINDS[kind] for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=share / share.sum()))]
    cut, noise = rng.uniform(0.35, 0.5), rng.normal(0, 0.05, POINTS)
    smooth = (np.roll(noise, 1) + noise + np.roll(noise, -1)) / 3
    return HullDraw(kind, cut, np.exp(smooth) * rng.uniform(0.9, 1.1))


def hull(face: Face, draw: HullDraw, matrix: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """(S, S) uint8, 255 inside the drawn part of the face after the affine map `matrix` (2, 3)."""
    outline = _scaled(face.outline, draw.radius)
    if draw.kind == "brows":
        outline = _below(outline, face, -draw.cut)
    elif draw.kind == "lower":
        outline = _below(outline, face, 0.55)
    filled = _filled(outline, matrix, side)
    if draw.kind == "inner":
        filled &= _filled(_scaled(_inner(face), draw.radius), matrix, side)
    return filled


def _scaled(points: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = points.mean(0)
    return centre + (points - centre) * radius[:, None]


def _inner(face: Face) -> NDArray[np.float64]:
    """(36, 2) the ellipse from above the eyes to below the mouth."""
    turn = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)[:, None]
    aside = 0.85 * face.width * np.sin(turn) * face.across
    return face.origin + aside + (0.525 - 0.825 * np.cos(turn)) * face.height * face.down


def _below(points: NDArray[np.float64], face: Face, least: float) -> NDArray[np.float64]:
    """The part of a polygon that lies `least` heights or more below the eyes (Sutherland and
    Hodgman 1974, one edge).
    """
    depth = (points - face.origin) @ face.down / face.height - least
    kept = []
    for here, there, one, other in zip(
        points, np.roll(points, -1, 0), depth, np.roll(depth, -1), strict=True
    ):
        if one >= 0:
            kept.append(here)
        if (one >= 0) != (other >= 0):
            kept.append(here + (there - here) * (one / (one - other)))
    return np.array(kept) if kept else points


def _filled(
    points: NDArray[np.float64], matrix: NDArray[np.float64], side: int
) -> NDArray[np.uint8]:
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    canvas = np.zeros((side, side), np.uint8)
    fine = np.rint(moved * 16).astype(np.int32)
    return cv2.fillPoly(canvas, [fine], 255, lineType=cv2.LINE_8, shift=4)


@dataclass(frozen=True)
class SoftDraw:
    """How the rim of a mask is softened, once a clip: two odd kernel sides, px of a crop of 240 px,
    and the sigma of the second.
    """

    first: int
    second: int
    sigma: float


def draw_soft(rng: np.random.Generator) -> SoftDraw:
    """Kernels of 5 to 31 px, sigma 5 to 45: SBI's, a quarter larger as our faces are."""
    first, second = 2 * rng.integers(2, 16, 2) + 1
    return SoftDraw(int(first), int(second), float(rng.integers(5, 46)))


def soften(mask: NDArray[np.uint8], draw: SoftDraw, whole: float) -> NDArray[np.uint8]:
    """A mask (S, S) drawn in by half of its first kernel and given a soft rim; its highest value
    is 255 wherever it was not empty.

    SBI blurs, keeps what is still 1 and blurs again: the first is an erosion by the kernel's
    square. Ours: a part of the face is drawn in by that share of it, of `whole` px of the whole
    face, that it is; the lower face would else shrink to a chin.
    """
    scale = len(mask) / 240
    share = min(1.0, cv2.countNonZero(mask) / max(whole, 1.0))
    size = _odd(draw.first * scale * share)
    inner = cv2.erode(mask, np.ones((size, size), np.uint8))
    if not inner.any():
        inner = mask
    size = _odd(draw.second * scale)
    soft = cv2.GaussianBlur(inner, (size, size), draw.sigma * scale, borderType=cv2.BORDER_CONSTANT)
    top = int(soft.max())
    return soft if top in (0, 255) else cv2.convertScaleAbs(soft, alpha=255 / top)


def _odd(size: float) -> int:
    return max(1, 2 * round((size - 1) / 2) + 1)


@cache
def border_ramp(side: int) -> NDArray[np.uint8]:
    """(S, S) 0 in the outer 4 px, rising to 255 within 8 more: a paste must not end at the border
    of the crop, which no real seam does.
    """
    place = np.arange(side)
    inside = np.minimum(place, side - 1 - place)
    edge = np.clip((np.minimum(inside[:, None], inside[None]) - 3) / 8, 0, 1)
    ramp = np.rint(255 * edge).astype(np.uint8)
    ramp.flags.writeable = False
    return ramp
