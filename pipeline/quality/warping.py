"""Temporal warping error: how much a frame differs from the next one brought back along the flow.

Source: Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, section 4 (E_warp), with
the occlusion test of Sundaram et al. 2010 in the constants of the released code. Ours: the flow is
OpenCV's DIS and not FlowNet2, and pixels whose target leaves the crop are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
# (S, S, 3) uint8 frames a, b -> (S, S, 2) px from a to b.
Flow = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Floats]


@dataclass(frozen=True)
class Motion:
    """Between frame a and the next, b. flow: (S, S, 2) px, a to b. visible: (S, S) pixels of a that
    are seen in b and do not lie on the edge of something that moves.
    """

    flow: Floats
    visible: Mask


def motion_of(flow: Flow, one: NDArray[np.uint8], two: NDArray[np.uint8]) -> Motion:
    """Flow from frame `one` to frame `two` (S, S, 3), and what of `one` is seen in `two`."""
    return motion(flow(one, two), flow(two, one))


def motion(forward: Floats, backward: Floats) -> Motion:
    """Of flows (S, S, 2) there and back."""
    back = warp(backward, forward)
    gap = ((forward + back) ** 2).sum(axis=2)
    lengths = (forward**2).sum(axis=2)
    occluded = gap > 0.01 * (lengths + (back**2).sum(axis=2)) + 0.5
    slopes = np.zeros(lengths.shape)
    slopes[:, :-1] += (np.diff(forward, axis=1) ** 2).sum(axis=2)
    slopes[:-1] += (np.diff(forward, axis=0) ** 2).sum(axis=2)
    edge = slopes > 0.01 * lengths + 0.002
    return Motion(forward, ~occluded & ~edge & _inside(forward))


def warp(picture: NDArray, flow: Floats) -> Floats:
    """(S, S, C) whose pixel p is the picture's at p + flow(p), bilinear; beyond the border its
    nearest pixel.
    """
    x, y = _targets(flow)
    height, width = picture.shape[:2]
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = (x - left)[..., None], (y - top)[..., None]
    values = picture.astype(np.float64)
    upper = values[top, left] * (1 - dx) + values[top, right] * dx
    lower = values[bottom, left] * (1 - dx) + values[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def _targets(flow: Floats) -> tuple[Floats, Floats]:
    height, width = flow.shape[:2]
    return flow[..., 0] + np.arange(width), flow[..., 1] + np.arange(height)[:, None]


def _inside(flow: Floats) -> Mask:
    x, y = _targets(flow)
    height, width = flow.shape[:2]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def warp_error(
    one: NDArray[np.uint8], two: NDArray[np.uint8], motion: Motion, region: Mask | None = None
) -> float | None:
    """Mean squared difference, grey levels squared over pixels and channels, of frame `one` and the
    next brought back, over the visible pixels of a region (S, S) of `one`; over all of its pixels
    where none is visible, None for an empty region.

    Published values in [0, 1] are these divided by 65,025.
    """
    everything = np.ones_like(motion.visible) if region is None else region
    return warp_errors(one, two, motion, [everything])[0]


def warp_errors(
    one: NDArray[np.uint8], two: NDArray[np.uint8], motion: Motion, regions: Sequence[Mask]
) -> list[float | None]:
    """warp_error of several regions, for the price of one."""
    squared = ((warp(two, motion.flow) - one) ** 2).mean(axis=2)
    found: list[float | None] = []
    for region in regions:
        seen = motion.visible & region
        counted = seen if seen.any() else region
        found.append(float(squared[counted].mean()) if counted.any() else None)
    return found
