"""What is left of a detector when its crops are treated badly: seven distortions at five levels, an
H.264 ladder.

Distortions and levels are those of DeeperForensics-1.0 (Jiang et al., CVPR 2020), parameters as in
its released code, which applied them to whole frames; here they are applied to the cached face
crops. Two names promise something else than that code does, and we keep what it does: CC scales
brightness, JPEG shrinks and enlarges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as tv

from unmask.pipeline.clips.h264 import h264
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.evaluation import robustness
from unmask.pipeline.evaluation.inference import Loaded, Progress, score_manifest
from unmask.pipeline.reports import plots
from unmask.pipeline.reports.plots import Picture
from unmask.pipeline.reports.tables import Table
from unmask.pipeline.scores.results import Options, evaluate_scores

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
    frames = torch.from_numpy(clip).permute(0, 3, 1, 2)
    blurred = tv.gaussian_blur(frames, [int(window), int(window)], [window / 6, window / 6])
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
class Kind:
    """One row of the table: its name, what it does, and the parameter of each level."""

    name: str
    title: str
    levels: tuple[float, ...]
    apply: Distortion


KINDS: tuple[Kind, ...] = (
    Kind("CS", "colour saturation", (0.4, 0.3, 0.2, 0.1, 0.0), saturation),
    Kind("CC", "colour contrast", (0.85, 0.725, 0.6, 0.475, 0.35), contrast),
    Kind("BW", "block-wise", (16, 32, 48, 64, 80), blocks),
    Kind("GNC", "noise in colour", (0.001, 0.002, 0.005, 0.01, 0.05), noise),
    Kind("GB", "Gaussian blur", (7, 9, 13, 17, 21), blur),
    Kind("JPEG", "JPEG (pixelation)", (2, 3, 4, 5, 6), shrink),
    Kind("VC", "video compression", (30, 32, 35, 38, 40), video),
)

LADDER = Kind("CRF", "H.264 crf", (18, 23, 28, 33, 40), video)


def distort(clip: Clip, kind: Kind, level: int, rng: np.random.Generator) -> Clip:
    """The clip (T,S,S,3) uint8 at level 1 (mild) to 5; the same numbers give the same pixels."""
    return kind.apply(clip, kind.levels[level - 1], rng)


def changes() -> Iterator[tuple[Kind, int, Callable[[Clip, np.random.Generator], Clip]]]:
    """Every distortion and level with the function that scoring applies to the pixels."""
    for kind in (*KINDS, LADDER):
        for level in range(1, len(kind.levels) + 1):
            yield (
                kind,
                level,
                lambda clip, rng, kind=kind, level=level: distort(clip, kind, level, rng),
            )


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


def score_distorted(
    config: EvaluateConfig, loaded: Loaded, source: ClipSource, options: Options, progress: Progress
) -> tuple[Table, Picture, str]:
    """Video AUC under every distortion and level, on a subset that is named."""
    only = robustness.subset(source.labels, config.robust_videos)
    common = {"per_video": config.robust_clips, "only": only}
    quick = replace(options, resamples=0)

    def auc(what: str, change: object = None) -> float | None:
        rows = score_manifest(
            config, loaded, source, what, progress, change=change, **common
        ).scores
        return evaluate_scores(rows, quick)["levels"]["video"]["metrics"]["auc"]["value"]

    clean = auc("robustness: clean")
    found: dict[str, list[float | None]] = {}
    for kind, level, change in robustness.changes():
        found.setdefault(kind.title, [clean]).append(
            auc(f"robustness: {kind.name} {level}", change)
        )
    steps = ("clean", *map(str, range(1, 6)))
    table = Table(
        "Robustness",
        ("video AUC", *steps),
        tuple((name, *values) for name, values in found.items()),
    )
    picture = plots.lines("Robustness", found, steps, "video AUC", "level")
    ladder = ", ".join(f"{crf:g}" for crf in robustness.LADDER.levels)
    line = (
        f"Video AUC on {len(only)} videos, {config.robust_clips or 'all'} clips each. "
        "Distortions and levels of "
        f"DeeperForensics-1.0, applied to the face crops; the H.264 ladder is crf {ladder}."
    )
    return table, picture, line
