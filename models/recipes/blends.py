"""How a fake is made of a real clip where a recipe trains on real footage only: settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

# Raise when the same settings and seed give other pixels: run.json keeps it, and a run of another
# version is not resumed.
BLEND_VERSION = 1

# What training on real footage only changes in any recipe: every real clip comes beside a fake made
# of itself, an epoch takes one clip of each video, and both are changed alike by what looks at no
# pixel (a contrast about the mean would carry the paste into its surroundings).
REAL_ONLY: dict[str, Any] = {
    "balance": "self",
    "all_clips": False,
    "class_weights": "none",
    "augment": ("self_blend",),
}


@dataclass(frozen=True)
class BlendSpec:
    """Settings of self-blended clips (pipeline/clips/self_blend.py says what each does).

    kinds: parts of the face that are pasted: oval (with the forehead), brows (up to them), inner
        (eyes to mouth), lower (below the nose).
    colour, affine, elastic: whether the copy is changed, moved and its mask bent; off in tests.
    copy: what else is done as today's swaps do it, each in half of the clips: matched (the copy
        takes mean and spread of the colours it covers), resampled (through two other sizes, instead
        of the paper's loss of detail), smoothed (texture and grain gone, edges left, as a generator
        paints).
    hsv: wide turns hue by up to 5 degrees and scales saturation and value by up to a tenth; code is
        what the release of SBI computes, one 8-bit level down or nothing.
    follow: shift moves the mask with the face inside a clip by what its pixels do as a whole,
        points by what its five landmarks do; none leaves it where it is.
    temporal: share of clips whose paste flickers from frame to frame.
    mask: what a model with a mask head learns: hard (the pasted half and more), soft (how much is
        pasted), edge (the seam, 4m(1 - m) as in Face X-ray).
    """

    kinds: tuple[Literal["oval", "brows", "inner", "lower"], ...] = (
        "oval",
        "brows",
        "inner",
        "lower",
    )
    colour: bool = True
    affine: bool = True
    elastic: bool = True
    copy: tuple[Literal["matched", "resampled", "smoothed"], ...] = ()
    hsv: Literal["wide", "code"] = "wide"
    follow: Literal["shift", "points", "none"] = "shift"
    temporal: float = 0.5
    mask: Literal["hard", "soft", "edge"] = "hard"
