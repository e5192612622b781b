"""Align and cut: a similarity transform from five landmarks, and the square crops it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.records import Frames

# Eyes, nose and mouth corners of an upright face, in any unit, y down; symmetric, so that an
# upright face turns by 0.
TEMPLATE = np.array([(-17.6, -20.3), (17.6, -20.3), (0.0, -0.2), (-14.6, 20.4), (14.6, 20.4)])


def roll(landmark: NDArray) -> float:
    """Angle in radians, image axes, by which a face must be turned to stand upright; 0 if its
    points coincide.

    landmark: (5, 2) px. The rotation of the least-squares similarity to the template (Umeyama 1991,
    in 2-D).
    """
    points = np.asarray(landmark, np.float64)
    points = points - points.mean(0)
    template = TEMPLATE - TEMPLATE.mean(0)
    sine = (points[:, 0] * template[:, 1] - points[:, 1] * template[:, 0]).sum()
    cosine = (points * template).sum()
    return math.atan2(sine, cosine) if math.isfinite(sine + cosine) and (sine or cosine) else 0.0


def align_transform(
    box: NDArray, landmark: NDArray, size: int, margin: float
) -> NDArray[np.float32]:
    """The similarity that puts a face upright in the middle of a crop; (2, 3) float32, frame px ->
    crop px.

    box: (4,) px, whose centre goes to the crop's centre and whose longer side becomes size / margin
    px.
    landmark: (5, 2) px, used for the rotation only: their distances change with the pose, the box
    hardly does. Whole numbers are pixel centres, as in OpenCV.
    """
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    side = margin * max(x2 - x1, y2 - y1)
    if not side > 0:
        raise ValueError(f"align_transform: box {x1:g},{y1:g},{x2:g},{y2:g} has no extent")
    angle = roll(landmark)
    turn = (
        size
        / side
        * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    )
    move = (size - 1) / 2 - turn @ [(x1 + x2) / 2, (y1 + y2) / 2]
    return np.column_stack([turn, move]).astype(np.float32)


def _reflected(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Positions start..stop-1 folded back into 0..length-1 at the border pixels, as often as
    needed.
    """
    period = max(1, 2 * length - 2)
    folded = np.abs(np.arange(start, stop)) % period
    return np.minimum(folded, period - folded)


def _patches(
    pixels: Sequence[NDArray], transform: NDArray, size: int, shrink: int
) -> tuple[NDArray, NDArray]:
    """The part of the frames under the crop, averaged over shrink x shrink px, and its (2, 3)
    transform.
    """
    height, width = pixels[0].shape[:2]
    corner = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
    under = (corner - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    low = np.floor(under.min(0)).astype(int) - 2 * shrink
    high = low + -(-(np.ceil(under.max(0)).astype(int) + 2 * shrink - low) // shrink) * shrink
    first, last = np.maximum(low, 0), np.minimum(high, (width, height))
    before, after = first - low, high - last
    if (np.maximum(before, after) < last - first).all():
        part = [frame[first[1] : last[1], first[0] : last[0]] for frame in pixels]
        border = before[1], after[1], before[0], after[0]
        if any(border):
            part = [cv2.copyMakeBorder(frame, *border, cv2.BORDER_REFLECT_101) for frame in part]
    else:  # the overhang reflects pixels that the crop itself does not reach
        rows, columns = _reflected(low[1], high[1], height), _reflected(low[0], high[0], width)
        part = [frame[rows[:, None], columns] for frame in pixels]
    target = tuple(((high - low) // shrink).tolist())
    part = np.stack([cv2.resize(frame, target, interpolation=cv2.INTER_AREA) for frame in part])
    # Pixel k of the patch is the mean of frame pixels low + shrink*k ... low + shrink*k + shrink-1.
    move = transform[:, 2] + transform[:, :2] @ (low + (shrink - 1) / 2)
    return part, np.column_stack([transform[:, :2] * shrink, move])


def crop_clip(
    pixels: Sequence[NDArray[np.uint8]], transform: NDArray, size: int
) -> NDArray[np.uint8]:
    """The same window cut from every frame of a clip: (T, H, W, 3) -> (T, size, size, 3) uint8.

    transform: (2, 3), frame px -> crop px. Outside the frame its reflection is seen
    (BORDER_REFLECT_101), so that the face stays in the middle. Enlarging is cubic (51 dB against an
    oversampled reference, linear 45), reducing is linear (at 1.4x 57 dB, cubic 52, which aliases),
    and beyond 2x whole pixels are averaged first.
    """
    transform = np.asarray(transform, np.float64)
    shrink = 1 / math.sqrt(abs(np.linalg.det(transform[:, :2])))
    if shrink > 2:
        pixels, transform = _patches(pixels, transform, size, int(shrink))
    how = cv2.INTER_CUBIC if shrink < 1 else cv2.INTER_LINEAR
    crops = np.empty((len(pixels), size, size, 3), np.uint8)
    for frame, crop in zip(pixels, crops, strict=True):
        cv2.warpAffine(
            frame, transform, (size, size), dst=crop, flags=how, borderMode=cv2.BORDER_REFLECT_101
        )
    return crops


def crop_frames(clip: Frames, transform: NDArray, size: int) -> NDArray[np.uint8]:
    """crop_clip of a clip's frames, of which no more is converted than lies under the crop."""
    height, width = clip.size
    transform = np.asarray(transform, np.float64)
    corner = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
    under = (corner - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    # Room for the cubic kernel and for the averaging of _patches.
    room = 4 + 4 * math.ceil(1 / math.sqrt(abs(np.linalg.det(transform[:, :2]))))
    low, high = np.floor(under.min(0)).astype(int) - room, np.ceil(under.max(0)).astype(int) + room
    first, last = np.maximum(low, 0), np.minimum(high, (width, height))
    # What is reflected at the picture's border must lie in the part too.
    if (np.maximum(first - low, high - last) >= last - first).any():
        first, last = np.zeros(2, int), np.array([width, height])
    moved = np.column_stack([transform[:, :2], transform[:, 2] + transform[:, :2] @ first])
    return crop_clip(clip.part(*first.tolist(), *last.tolist()), moved, size)
