"""What a model eats: the one place where a model says which frames, size, range, bands and masks
it wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# (mean, std) on pixels / 255, per RGB channel; raw255 leaves 0..255 as it is.
NORMS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "raw255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True)
class ClipSpec:
    """How one sample is taken from the cached clips (N clips of T consecutive frames) of a video.

    mode: consecutive (one cached clip, its first `frames` frames), sparse (centre frames of
    `frames` clips spread over the video), chained (`frames` / T whole clips in time order), single
    (one frame), runs (`run` consecutive frames of each of `frames` / `run` parts of the video).
    size: side in px after `fit` (crop: native pixels, no interpolation; resize: bilinear).
    bands: DCT band definition whose (B, T, 9, S, S) images the model wants beside the pixels, or
    None.
    coefficients: instead of those images it wants the low and mid (B, T, 3, R, R) coefficients of
    the whole picture, R its rows below the high band; it then needs no pixels.
    masks: the training loss wants (B, T, 1, S, S) manipulation masks.
    soft_masks: these say how much is manipulated, 0 to 1, instead of whether.
    """

    mode: Literal["consecutive", "sparse", "chained", "single", "runs"]
    frames: int
    size: int = 240
    fit: Literal["crop", "resize"] = "crop"
    norm: Literal["unit", "half", "imagenet", "clip", "raw255"] = "unit"
    bands: str | None = None
    masks: bool = False
    soft_masks: bool = False
    coefficients: bool = False
    run: int = 1
