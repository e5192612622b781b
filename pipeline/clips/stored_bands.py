"""When the coefficients that extraction stored stand for the bands that a model wants, and what a
flip makes of them.

Stored are the "area" coefficients of the pixels as cached. They hold for a batch whose pixels are
unchanged, mirrored or shown backwards; every other change of the pixels makes them untrue, and the
bands are then computed on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unmask.models.layers.bands import Bands
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.clip_reader import ClipReader

BandsFrom = Literal["auto", "cached", "computed"]
DEFINITION = "area"


@cache
def bands_of(side: int, definition: str, device: str) -> Bands:
    """The band transform of one side, its tables kept on the device."""
    return Bands(side, definition).to(device)


def no_stored_bands(spec: ClipSpec, readers: Sequence[ClipReader]) -> str:
    """Why the cache's coefficients do not serve this model, in words; "" when they do."""
    if spec.bands is None:
        return "the model takes no bands"
    if spec.bands != DEFINITION:
        return f"the model wants {spec.bands} bands, stored are {DEFINITION} ones"
    without = sum("bands" not in reader.arrays for reader in readers)
    if without:
        return f"{without} of {len(readers)} videos have no bands; extract with --bands"
    side = readers[0].shape[2]
    if spec.coefficients and side != spec.size:
        return f"the model wants coefficients of {spec.size} px, the crops have {side} px"
    count = len(bands_of(side, DEFINITION, "cpu").places)
    if any(reader.array_shape("bands")[2:] != (3, count) for reader in readers):
        return f"stored are other than the {count} coefficients of {DEFINITION} at {side} px"
    return ""


def moved(
    coefficients: Tensor,
    augment: Callable[[Tensor, Tensor | None, np.random.Generator], tuple[Tensor, Tensor | None]],
    numbers: np.random.Generator,
    bands: Bands,
) -> Tensor:
    """Coefficients (T,3,K) of a clip after an augmentation that mirrors or reverses, no more.

    numbers: in the state in which the clip's own pixels were augmented.
    The augmentation itself says what it did: it is given T pictures of two pixels, all of them
    numbered.
    """
    frames = len(coefficients)
    numbered = torch.arange(2 * frames).view(frames, 1, 1, 2).expand(frames, 3, 1, 2)
    shown, _ = augment(numbered, None, numbers)
    first, second = shown[:, 0, 0].unbind(1)
    order = torch.minimum(first, second) // 2
    kept = coefficients[order.to(coefficients.device)]
    return bands.flip(kept) if bool(first[0] > second[0]) else kept
