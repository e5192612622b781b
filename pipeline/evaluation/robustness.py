"""What is done to cached crops to see what is left of a detector: seven distortions at five levels,
an H.264 ladder, and whatever else is added to PERTURBATIONS, with as many levels as it has.

Distortions and levels are those of DeeperForensics-1.0 (Jiang et al., CVPR 2020), parameters as in
its released code, which applied them to whole frames; here they are applied to the cached face
crops. Two names promise something else than that code does, and we keep what it does: CC scales
brightness, JPEG shrinks and enlarges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.clips.h264 import h264
from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.metrics import OURS
from unmask.plugins import take

Clip = NDArray[np.uint8]  # (T, S, S, 3) RGB
Distortion = Callable[[Clip, float, np.random.Generator], Clip]

BLOCK = 8
BT601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Y, Cb, Cr -> R, G, B of full-range BT.601.
TO_RGB = np.array(
    [[1.0, 1.0, 1.0], [0.0, -0.344136, 1.772], [1.402, -0.714136, 0.0]], dtype=np.float32
)
# The released code adds noise where luma spans 219 and chroma 224 of 255 levels.
SPAN = np.array([255 / 219, 255 / 224, 255 / 224], dtype=np.float32)


def _bytes(values: NDArray[np.floating]) -> Clip:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def saturation(clip: Clip, amount: float, rng: np.random.Generator) -> Clip:
    """CS: chroma times `amount`, luma kept; 0 is grey."""
    values = clip.astype(np.float32)
    grey = values @ BT601
    return _bytes(grey[..., None] + amount * (values - grey[..., None]))


def contrast(clip: Clip, amount: float, rng: np.random.Generator) -> Clip:
    """CC: every level times `amount`."""
    return _bytes(clip * np.float32(amount))


def blocks(clip: Clip, amount: float, rng: np.random.Generator) -> Clip:
    """BW: grey 8 x 8 squares at random places of every frame, `amount` of them per 256 x 256
    pixels.

    The released code rounds the count down to zero below 256 pixels; ours is proportional to the
    area.
    """
    frames, side = len(clip), clip.shape[1]
    out = clip.copy()
    for t in range(frames):
        for y, x in rng.integers(0, side - BLOCK, (round(amount * (side / 256) ** 2), 2)):
            out[t, y : y + BLOCK, x : x + BLOCK] = 128
    return out


def noise(clip: Clip, variance: float, rng: np.random.Generator) -> Clip:
    """GNC: white Gaussian noise of this variance (of levels / 255) in Y, Cb and Cr."""
    drawn = rng.standard_normal(clip.shape, dtype=np.float32) * (
        np.sqrt(variance) * 255 * SPAN
    ).astype(np.float32)
    return _bytes(clip + drawn @ TO_RGB)


def blur(clip: Clip, window: float, rng: np.random.Generator) -> Clip:
    """GB: Gaussian of `window` pixels, sigma a sixth of it."""
    # Late: torchvision loads torch's compiler, three seconds that only a robustness table needs.
    from torchvision.transforms.v2 import functional

    frames = torch.from_numpy(clip).permute(0, 3, 1, 2)
    blurred = functional.gaussian_blur(frames, [int(window), int(window)], [window / 6, window / 6])
    return blurred.permute(0, 2, 3, 1).contiguous().numpy()


def shrink(clip: Clip, factor: float, rng: np.random.Generator) -> Clip:
    """JPEG: bilinear to 1 / `factor` of the side and back, without smoothing before, as
    released.
    """
    frames, side = torch.from_numpy(clip).permute(0, 3, 1, 2).float(), clip.shape[1]
    small = torch.nn.functional.interpolate(
        frames, size=(side // int(factor),) * 2, mode="bilinear"
    )
    large = torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear")
    return _bytes(large.permute(0, 2, 3, 1).numpy())


def video(clip: Clip, crf: float, rng: np.random.Generator) -> Clip:
    """VC and the ladder: real H.264 at this constant rate factor."""
    return h264(clip, int(crf))


@dataclass(frozen=True)
class Perturbation:
    """One row of the robustness table.

    name: short, as in the progress and in PERTURBATIONS.
    title: as in the table.
    levels: parameter of each level, mild to strong, one or more.
    apply: (clip (T,S,S,3) uint8 RGB, parameter, random numbers) -> a new clip of the same shape
        and type; equal random numbers must give equal pixels.
    origin: the distribution that brings it.
    """

    name: str
    title: str
    levels: tuple[float, ...]
    apply: Distortion
    origin: str = OURS


# name -> the perturbation, in the order of the table.
PERTURBATIONS: dict[str, Perturbation] = {
    perturbation.name: perturbation
    for perturbation in (
        Perturbation("CS", "colour saturation", (0.4, 0.3, 0.2, 0.1, 0.0), saturation),
        Perturbation("CC", "colour contrast", (0.85, 0.725, 0.6, 0.475, 0.35), contrast),
        Perturbation("BW", "block-wise", (16, 32, 48, 64, 80), blocks),
        Perturbation("GNC", "noise in colour", (0.001, 0.002, 0.005, 0.01, 0.05), noise),
        Perturbation("GB", "Gaussian blur", (7, 9, 13, 17, 21), blur),
        Perturbation("JPEG", "JPEG (pixelation)", (2, 3, 4, 5, 6), shrink),
        Perturbation("VC", "video compression", (30, 32, 35, 38, 40), video),
        Perturbation("CRF", "H.264 crf", (18, 23, 28, 33, 40), video),
    )
}


def add_perturbation(perturbation: Perturbation) -> None:
    """Make a perturbation part of every robustness table from now on.

    Raises UsageError for a name or title that is taken or empty, and for no levels.
    """
    whose = f"perturbation {perturbation.name!r} of {perturbation.origin}"
    if not perturbation.name or not perturbation.title or not perturbation.levels:
        raise UsageError(f"{whose}: a perturbation has a name, a title and at least one level")
    for known in PERTURBATIONS.values():
        if perturbation.name == known.name or perturbation.title == known.title:
            raise UsageError(f"{whose}: {known.origin} has one of this name or title already")
    PERTURBATIONS[perturbation.name] = perturbation


OWN_NAMES = frozenset(PERTURBATIONS)


def known_perturbations() -> dict[str, Perturbation]:
    """PERTURBATIONS with those that installed packages offer under the entry-point group
    `unmask.perturbations`; a package that cannot be used is one warning.
    """
    take("perturbations", OWN_NAMES, Perturbation, "name", add_perturbation, UsageError)
    return PERTURBATIONS


def distort(clip: Clip, perturbation: Perturbation, level: int, rng: np.random.Generator) -> Clip:
    """The clip (T,S,S,3) uint8 at level 1 (mild) to the last; the same random numbers give the
    same pixels.

    Raises ValueError when what comes out is no such clip.
    """
    distorted = perturbation.apply(clip, perturbation.levels[level - 1], rng)
    got = getattr(distorted, "shape", None), getattr(distorted, "dtype", None)
    if got != (clip.shape, clip.dtype):
        raise ValueError(f"expected a clip {clip.shape} {clip.dtype}, got {got[0]} {got[1]}")
    return distorted


def steps() -> Iterator[tuple[Perturbation, int]]:
    """Every perturbation with each of its levels, counted from 1."""
    for perturbation in known_perturbations().values():
        for level in range(1, len(perturbation.levels) + 1):
            yield perturbation, level


def failing(clip: Clip) -> dict[str, str]:
    """Name -> why, of the perturbations of other distributions that fail on this clip.

    Asked before anything is scored, so that one of them cannot cost the hours of all others.
    """
    found: dict[str, str] = {}
    for perturbation, level in steps():
        if perturbation.origin != OURS and perturbation.name not in found:
            try:
                distort(clip.copy(), perturbation, level, np.random.default_rng(0))
            except Exception as error:
                why = f"{type(error).__name__}: {error}"[:200]
                found[perturbation.name] = f"level {level}: {why}"
    return found


def subset(label: NDArray, each: int) -> NDArray[np.int64]:
    """Positions of at most `each` videos of either class, spread evenly over the manifest; 0 takes
    all.
    """
    if each <= 0:
        return np.arange(len(label))
    chosen = []
    for value in np.unique(label):
        member = np.flatnonzero(label == value)
        chosen.append(
            member[
                np.unique(
                    np.rint(np.linspace(0, len(member) - 1, min(each, len(member)))).astype(int)
                )
            ]
        )
    return np.sort(np.concatenate(chosen))
