"""What makes the copy of a face unlike the picture it is pasted back into: the colour step of
self-blended images (Shiohara and Yamasaki, CVPR 2022, arXiv 2204.08376, section 3), and on request
what today's face swaps do besides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.models.recipes.blends import BlendSpec

# As today's swaps do it (ours): how often each step that the settings name is taken, between which
# shares of the crop's side a face is resampled (networks paint 128 to 256 px), how much of a
# texture is smoothed away (levels), and how far colours are matched.
COPY_STEPS, COPY_CHANCE = ("matched", "resampled", "smoothed"), 0.5
RESAMPLED = (0.35, 1.1)
RESAMPLERS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)
SMOOTHED_LEVELS = (15.0, 45.0)
MOST_GAIN = 2.0


@dataclass(frozen=True)
class Colour:
    """What makes the copy unlike its surroundings, drawn once a clip.

    shift: (3,) levels of red, green, blue.
    hsv: hue in degrees and factors of saturation and value, or whole levels (hsv "code").
    factor, light: contrast about black, and levels added.
    halve: 2 or 4, reduced by so much and enlarged again; 0 sharpens by `sharp` (alpha, lightness).
    """

    shift: tuple[float, float, float]
    hsv: tuple[float, float, float]
    factor: float
    light: float
    halve: int
    sharp: tuple[float, float]


@dataclass(frozen=True)
class CopyDraw:
    """What is done as today's swaps do it, drawn once a clip.

    steps: those of COPY_STEPS that are taken.
    sizes: (2,) shares of the side; kernels: (3,) OpenCV's, the last for the way back.
    levels: how different neighbours are that smoothing still joins.
    """

    steps: tuple[str, ...]
    sizes: tuple[float, ...]
    kernels: tuple[int, ...]
    levels: float


AS_IT_IS = CopyDraw((), (), (), 0.0)


def draw_colour(rng: np.random.Generator, spec: BlendSpec) -> Colour:
    """Section 3 of the paper and its released settings."""
    levels = rng.uniform(-20, 20, 3) * (rng.random() < 0.3)
    hsv = rng.uniform(-1, 1, 3)
    hsv = np.floor(hsv) if spec.hsv == "code" else hsv * (5, 0.1, 0.1) + (0, 1, 1)
    light, factor = 255 * rng.uniform(-0.1, 0.1), 1 + rng.uniform(-0.1, 0.1)
    reduced, halve = rng.random() < 0.5, int(rng.choice((2, 4)))
    sharp = (float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.5, 1)))
    return Colour(
        tuple(levels.tolist()), tuple(hsv.tolist()), factor, light, halve * reduced, sharp
    )


def draw_copy(rng: np.random.Generator, spec: BlendSpec) -> CopyDraw:
    """As many numbers whatever the settings name."""
    taken = rng.random(len(COPY_STEPS)) < COPY_CHANCE
    sizes, kernels = rng.uniform(*RESAMPLED, 2), rng.integers(len(RESAMPLERS), size=3)
    levels = float(rng.uniform(*SMOOTHED_LEVELS))
    steps = tuple(s for s, now in zip(COPY_STEPS, taken, strict=True) if now and s in spec.copy)
    return CopyDraw(
        steps, tuple(sizes.tolist()), tuple(RESAMPLERS[k] for k in kernels.tolist()), levels
    )


def recolour(
    frames: NDArray[np.uint8], colour: Colour, hsv: str, copy: CopyDraw = AS_IT_IS
) -> NDArray[np.uint8]:
    """The colour step on (T, S, S, 3): channels shifted, hue, saturation and value, light and
    contrast; then less detail or more, and what of `copy` changes a whole picture.
    """
    done = np.empty_like(frames)
    rows = np.arange(256)[:, None] + np.array(colour.shift)
    levels = np.clip(rows, 0, 255).astype(np.float32)[None]  # (1,256,3)
    for frame, out in zip(frames, done, strict=True):
        # frame by frame: it stays in the processor's cache, a clip does not
        turned = (
            _hsv_levels(frame, levels, colour) if hsv == "code" else _hsv(frame, levels, colour)
        )
        lit = _lit(turned, colour)
        if "smoothed" in copy.steps:
            lit = cv2.bilateralFilter(lit, 7, copy.levels, 3)
        if "resampled" in copy.steps:
            _resample(lit, copy, out)
        else:
            _detail(lit, colour, out)
    return done


def _resample(frame: NDArray[np.uint8], copy: CopyDraw, out: NDArray[np.uint8]) -> None:
    """Through two other sizes and back, into `out`."""
    side = len(frame)
    *there, back = copy.kernels
    for share, kernel in zip(copy.sizes, there, strict=True):
        frame = cv2.resize(frame, (max(8, round(side * share)),) * 2, interpolation=kernel)
    cv2.resize(frame, (side, side), dst=out, interpolation=back)


def _lit(picture: NDArray, colour: Colour) -> NDArray[np.uint8]:
    """Levels times the factor, up or down by the light, rounded and cut to 0..255."""
    if picture.dtype == np.uint8:
        levels = np.clip(np.arange(256) * colour.factor + colour.light, 0, 255)
        return cv2.LUT(picture, np.rint(levels).astype(np.uint8))
    if colour.light < 0:  # OpenCV's scaling takes the absolute value of what falls below 0
        picture = cv2.max(picture, (-colour.light / colour.factor,) * 4)
    return cv2.convertScaleAbs(picture, alpha=colour.factor, beta=colour.light)


def _hsv_levels(
    frame: NDArray[np.uint8], levels: NDArray[np.float32], colour: Colour
) -> NDArray[np.uint8]:
    """Hue (of 180), saturation and value (of 255) by whole levels, as 8-bit tables do."""
    rows = np.arange(256)[:, None] + np.array(colour.hsv)
    rows[:, 0] %= 180
    table = np.clip(rows, 0, 255).astype(np.uint8)[None]
    shifted = cv2.LUT(frame, np.rint(levels).astype(np.uint8))
    turned = cv2.LUT(cv2.cvtColor(shifted, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)


def _hsv(
    frame: NDArray[np.uint8], levels: NDArray[np.float32], colour: Colour
) -> NDArray[np.float32]:
    """Hue turned by degrees, saturation and value multiplied; in float32, so that no grid of 8-bit
    hues betrays the paste.
    """
    hue, saturation, value = colour.hsv
    hsv = cv2.cvtColor(cv2.LUT(frame, levels), cv2.COLOR_RGB2HSV)  # degrees, 0..1, levels
    turn = np.array([[1, 0, 0, hue % 360], [0, saturation, 0, 0], [0, 0, value, 0]])
    hsv = cv2.transform(hsv, turn)
    np.minimum(hsv[..., 1], 1, out=hsv[..., 1])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _detail(frame: NDArray[np.uint8], colour: Colour, out: NDArray[np.uint8]) -> None:
    """Reduced with the nearest pixel and enlarged again, or sharpened, into `out`."""
    if colour.halve:
        side = len(frame)
        small = cv2.resize(
            frame, (max(1, side // colour.halve),) * 2, interpolation=cv2.INTER_NEAREST
        )
        cv2.resize(small, (side, side), dst=out, interpolation=cv2.INTER_LINEAR)
        return
    alpha, lightness = colour.sharp
    kernel = np.full((3, 3), -alpha, np.float32)
    kernel[1, 1] = (1 - alpha) + alpha * (8 + lightness)
    cv2.filter2D(frame, -1, kernel, dst=out, borderType=cv2.BORDER_REPLICATE)


def match_colours(
    copy: NDArray[np.uint8], target: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The copy with the target's mean and spread of each channel where more than half is pasted, as
    swapping programs correct colours (Reinhard et al. 2001, on RGB).
    """
    pasted = cv2.compare(mask, 127, cv2.CMP_GT)
    if not cv2.countNonZero(pasted):
        return copy
    (mean, spread), (wanted, wide) = (
        (part.ravel() for part in cv2.meanStdDev(picture, mask=pasted))
        for picture in (copy, target)
    )
    gain = np.clip((wide + 1e-3) / (spread + 1e-3), 1 / MOST_GAIN, MOST_GAIN)
    moved = np.column_stack([np.diag(gain), wanted - gain * mean])  # (3, 4)
    return cv2.transform(copy, moved)
