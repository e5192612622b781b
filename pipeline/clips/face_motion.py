"""How far a face moves inside a cached clip, whose window stands still.

A mask that stood still would be glued to the picture instead of the face, a cue that no pasted face
has.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

# Px of a crop of 240 px: the window that is compared, and the largest move that is believed (the
# largest seen in 48 real clips was 8.5 px).
WINDOW, FARTHEST = 128, 9.0
# Side of the patch around a landmark that is found again, px of a crop of 240 px; how far it may
# come back beside where it left (px), and how many landmarks must be found again.
PATCH, ASTRAY, FEWEST = 31, 1.0, 3
# Height of the correlation's peak below which two pictures have nothing in common.
FAINT = 0.03


@cache
def _hanning(size: int) -> NDArray[np.float32]:
    return cv2.createHanningWindow((size, size), cv2.CV_32F)


def moves(frames: NDArray[np.uint8], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 2) px by which the face is aside of where the middle frame has it.

    frames: (T, S, S, 3) uint8. centre: of the face, px.
    Phase correlation (Kuglin and Hines 1975) of the luma around the centre under a Hanning window;
    pictures without texture do not move.
    """
    count, side = frames.shape[:2]
    size = cv2.getOptimalDFTSize(max(16, round(WINDOW * side / 240)))
    found = np.zeros((count, 2))
    if size > side:
        return found
    x, y = np.clip(np.rint(centre - size / 2).astype(int), 0, side - size)
    luma = [
        cv2.cvtColor(frame[y : y + size, x : x + size], cv2.COLOR_RGB2GRAY).astype(np.float32)
        for frame in frames
    ]
    middle = luma[count // 2]
    farthest = FARTHEST * side / 240
    for t, picture in enumerate(luma):
        if t == count // 2 or min(np.ptp(picture), np.ptp(middle)) < 4:
            continue
        (dx, dy), peak = cv2.phaseCorrelate(
            middle - middle.mean(), picture - picture.mean(), _hanning(size)
        )
        if np.isfinite((dx, dy, peak)).all() and peak > FAINT:
            found[t] = np.clip((dx, dy), -farthest, farthest)
    return found


def point_moves(frames: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 2) px by which the face is aside of where the middle frame has it, by its landmarks.

    frames: (T, S, S, 3) uint8. points: (5, 2) px, of the middle frame.
    The five are found again in each frame by pyramidal Lucas-Kanade (Bouguet 2000), there and back;
    the median of their moves counts. A detector on each frame would shake by 1 px from frame to
    frame. Where fewer than three are found again nothing moves.
    """
    count, side = frames.shape[:2]
    found = np.zeros((count, 2))
    if not np.isfinite(points).all():
        return found
    scale = side / 240
    patch = max(7, round(PATCH * scale) | 1)
    luma = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    start = np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2)
    options = {"winSize": (patch, patch), "maxLevel": 2}
    for t, picture in enumerate(luma):
        if t == count // 2:
            continue
        there, seen, _ = cv2.calcOpticalFlowPyrLK(luma[count // 2], picture, start, None, **options)
        back, again, _ = cv2.calcOpticalFlowPyrLK(picture, luma[count // 2], there, None, **options)
        astray = np.abs(back - start).max((1, 2))
        good = (seen.ravel() > 0) & (again.ravel() > 0) & (astray < ASTRAY * max(scale, 0.5))
        if good.sum() >= FEWEST:
            farthest = FARTHEST * scale
            found[t] = np.clip(np.median((there - start)[good, 0], 0), -farthest, farthest)
    return found
