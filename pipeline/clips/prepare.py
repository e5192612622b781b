"""Turn raw uint8 clips into what a model takes: augmented, of its size, normalised, with DCT
bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from unmask.models.spec import NORMS, ClipSpec
from unmask.pipeline.clips.batches import RawBatch
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.stored_bands import bands_of, moved
from unmask.pipeline.errors import CacheError

# (clip (T,3,S,S) uint8 on the device, masks (T,1,S,S) uint8 or None, random numbers) -> the same
# two, any side.
Augment = Callable[[Tensor, Tensor | None, np.random.Generator], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Batch:
    """What a model eats.

    pixels: (B,T,3,S,S) float32, normalised by spec.norm; None for a model that eats stored
        coefficients only.
    bands: (B,T,9,S,S) float32 of pixels / 255, or (B,T,3,R,R) coefficients of them where
        spec.coefficients says so, or None.
    masks: (B,T,1,S,S) float32, 1 where manipulated (between 0 and 1 with spec.soft_masks), or
        None.
    label: (B,) int64, 1 fake.
    """

    pixels: Tensor | None
    bands: Tensor | None
    masks: Tensor | None
    label: Tensor


def random_of(sample: Sample) -> np.random.Generator:
    """The random numbers of one sample: its own seed in training, its place in the manifest in
    evaluation.
    """
    return np.random.default_rng(
        [sample.video, *sample.picks[0]] if sample.seed is None else sample.seed
    )


def prepare(
    raw: RawBatch, spec: ClipSpec, device: torch.device | str, augment: Augment | None = None
) -> Batch:
    """Host uint8 -> the model's input on `device`: copy, augment, bands, crop or resize, normalise,
    in this order.

    Samples with a seed (training) are cropped at a random place, the others in the centre. Bands
    are those of the whole crop after augmentation, cut like the pixels.
    Coefficients that came along serve where `augment` moves pixels and changes none.
    """
    pixels, masks, coefficients = (
        None if tensor is None else tensor.to(device, non_blocking=True)
        for tensor in (raw.pixels, raw.masks, raw.coefficients)
    )
    label = raw.label.to(device, non_blocking=True)
    if label.is_cuda:
        raw.copied = torch.cuda.Event()
        raw.copied.record()
    if pixels is not None:
        pixels = pixels.permute(0, 1, 4, 2, 3)  # (B,T,3,S,S) uint8
    if masks is not None:
        masks = masks.unsqueeze(2)  # (B,T,1,S,S)
    numbers = [random_of(sample) for sample in raw.samples]
    if augment is not None:
        if coefficients is not None:
            side = spec.size if pixels is None else pixels.shape[-1]
            transform = bands_of(side, spec.bands, str(label.device))
            coefficients = torch.stack(
                [
                    moved(clip, augment, random_of(sample), transform)
                    for clip, sample in zip(coefficients, raw.samples, strict=True)
                ]
            )
        if pixels is not None:
            changed = [
                augment(clip, None if masks is None else masks[i], numbers[i])
                for i, clip in enumerate(pixels)
            ]
            pixels = torch.stack([clip for clip, _ in changed])
            changed_masks = [mask for _, mask in changed if mask is not None]
            masks = torch.stack(changed_masks) if changed_masks else None
    if pixels is None:
        assert coefficients is not None, "a raw batch holds pixels, coefficients or both"
        grid = bands_of(spec.size, spec.bands, str(label.device)).grid(coefficients)
        return Batch(None, grid, None, label)
    unit = pixels.float().div_(255)
    place = [
        _offset(unit.shape[-1], spec, sample, rng)
        for sample, rng in zip(raw.samples, numbers, strict=True)
    ]
    fitted = fit_to_side(unit, spec, place)
    bands = None
    if spec.coefficients:
        transform = bands_of(spec.size, spec.bands, str(unit.device))
        bands = transform.grid(transform.coefficients(fitted))
    elif spec.bands is not None:
        transform = bands_of(unit.shape[-1], spec.bands, str(unit.device))
        images = transform(unit) if coefficients is None else transform.restore(coefficients, unit)
        bands = fit_to_side(images, spec, place)
    if masks is not None:
        if spec.soft_masks:
            masks = fit_to_side(masks.float(), spec, place).div_(255)
        else:
            masks = (fit_to_side(masks.float(), spec, place, mode="nearest") > 127).float()
    return Batch(normalise(fitted, spec.norm), bands, masks, label)


def _offset(side: int, spec: ClipSpec, sample: Sample, rng: np.random.Generator) -> tuple[int, int]:
    room = side - spec.size
    if spec.fit == "resize" or room == 0:
        return 0, 0
    if room < 0:
        raise CacheError(
            f"the model crops {spec.size} px out of crops of {side} px; extract with --size "
            f"{spec.size} or more, "
            "or resize with --option fit=resize"
        )
    return (
        (room // 2, room // 2)
        if sample.seed is None
        else tuple(rng.integers(room + 1, size=2).tolist())
    )


def fit_to_side(
    images: Tensor, spec: ClipSpec, place: Sequence[tuple[int, int]], mode: str = "bilinear"
) -> Tensor:
    """(B,T,C,S,S) -> (B,T,C,size,size): cut at `place` (y, x) of each clip, or resized
    (antialiased).
    """
    size = spec.size
    if images.shape[-1] == size:
        return images
    if spec.fit == "crop":
        return torch.stack(
            [c[..., y : y + size, x : x + size] for c, (y, x) in zip(images, place, strict=True)]
        )
    smooth = mode == "bilinear"
    flat = interpolate(images.flatten(0, 1), size=(size, size), mode=mode, antialias=smooth)
    return flat.unflatten(0, images.shape[:2])  # (B*T,C,s,s) -> (B,T,C,s,s)


def normalise(unit: Tensor, norm: str) -> Tensor:
    """(B,T,3,S,S) in 0..1 -> (x - mean) / std per RGB channel, by the name in
    unmask.models.spec.NORMS.
    """
    mean, std = (torch.tensor(value, device=unit.device).view(3, 1, 1) for value in NORMS[norm])
    return unit if norm == "unit" else (unit - mean) / std
