"""Grad-CAM: which places of a clip moved the score, and how they are drawn over the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.io import encode_jpeg

from unmask.models.spec import NORMS, ClipSpec
from unmask.pipeline.clips.prepare import Batch
from unmask.pipeline.records import FAKE

LEAST_PLACES = 7
FRAMES, SIDE = 4, 160  # shown per video, and px of each


def seen(pixels: Tensor, spec: ClipSpec) -> Tensor:
    """(T,3,S,S) in 0..1: the normalised clip as the picture it was."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in NORMS[spec.norm]
    )
    return (pixels * std + mean).clamp(0, 1)


def heat_of(model: nn.Module, batch: Batch) -> tuple[Tensor, str]:
    """(T,h,w) or (1,h,w) in 0..1 of the one sample of the batch, and its name."""
    model.eval()
    with torch.no_grad():
        outputs = model.outputs(batch.pixels, batch.bands)
    if "mask" in outputs:
        return outputs["mask"][0, :, 0].sigmoid(), "predicted mask"
    if batch.pixels is None or model.spec.coefficients:
        return torch.zeros(1, 1, 1), "no map: this model looks at frequencies, not at places"
    frames = batch.pixels.shape[1]
    layer = last_map(model, batch, frames)
    if layer is None:
        return torch.zeros(1, 1, 1), "no map in this model"
    return grad_cam(model, batch, layer, frames), "Grad-CAM"


def last_map(model: nn.Module, batch: Batch, frames: int) -> nn.Module | None:
    """The module that made the last map with enough places; of smaller maps the last; None where
    there is none.
    """
    found: list[tuple[int, nn.Module]] = []

    def note(module: nn.Module, _: object, out: object) -> None:
        places = as_maps(out, frames)
        if places is not None:
            found.append((min(places.shape[-2:]), module))

    with hooked(model.modules(), note), torch.no_grad():
        model.outputs(batch.pixels, batch.bands)
    large = [module for side, module in found if side >= LEAST_PLACES]
    return large[-1] if large else found[-1][1] if found else None


@contextmanager
def hooked(modules: object, hook: Callable):
    """Call the hook after every forward pass of the modules, as long as the block lasts."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def as_maps(out: object, frames: int) -> Tensor | None:
    """A module's output as maps (n,C,h,w) with n = frames or 1, or None when it is something
    else.
    """
    if not isinstance(out, Tensor) or not out.is_floating_point():
        return None
    if out.ndim == 5 and out.shape[:2] == (1, frames):
        out = out[0]
    if out.ndim == 4 and len(out) in (1, frames):
        last = out.shape[1] == out.shape[2] != out.shape[3]  # channels last, as Swin has it
        out = out.permute(0, 3, 1, 2) if last else out
        return out if out.shape[2] == out.shape[3] > 1 else None
    if out.ndim == 3 and len(out) in (1, frames):
        return _tokens(out)
    return None


def _tokens(out: Tensor) -> Tensor | None:
    """(n, places, C) of a square grid, with or without one class token in front."""
    count = out.shape[1]
    for extra in (0, 1):
        side = math.isqrt(count - extra)
        if side > 1 and side * side == count - extra:
            return out[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    return None


def grad_cam(model: nn.Module, batch: Batch, layer: nn.Module, frames: int) -> Tensor:
    """(n,h,w) in 0..1: positive part of the channel sum weighted with the mean gradient.

    The gradient is that of the decision (fake minus real, or its opposite when the model says
    real), so that heat
    always means: this made the model say what it said.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, _: object, out: Tensor) -> Tensor:
        kept.append(out)
        return out.clone()  # what follows may change its input in place; the kept map must stay

    pixels = batch.pixels.detach().requires_grad_(True)
    with hooked([layer], keep), torch.enable_grad():
        logits = model.outputs(pixels, batch.bands)["logits"][0]
        decision = logits[FAKE] - logits[1 - FAKE]
        gradient = torch.autograd.grad(
            decision * decision.detach().sign(), kept[-1], allow_unused=True
        )[0]
    if gradient is None:
        return torch.zeros(1, 1, 1)
    maps, slopes = as_maps(kept[-1].detach(), frames), as_maps(gradient, frames)
    heat = (maps * slopes.mean((2, 3), keepdim=True)).sum(1).clamp_min(0)
    return heat / heat.amax().clamp_min(1e-12)


def overlay(frames: Tensor, heat: Tensor | None) -> bytes:
    """frames (n,3,S,S) in 0..1 and heat (n,h,w) in 0..1 -> JPEG of two rows of n pictures, of one
    without heat.
    """
    large = interpolate(frames.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    if heat is None:
        return _jpeg(torch.cat(list(large), dim=2))
    spread = interpolate(heat[:, None].float(), (SIDE, SIDE), mode="bilinear").clamp(0, 1)
    mixed = (
        large.mean(1, keepdim=True) * 0.75 * (1 - 0.55 * spread) + colour(spread) * 0.55 * spread
    )
    rows = [torch.cat(list(images), dim=2) for images in (large, mixed)]  # (3, SIDE, n * SIDE)
    return _jpeg(torch.cat(rows, dim=1))


def small(pixels: NDArray[np.uint8], side: int = 72) -> bytes:
    """One crop (S,S,3) uint8 as a small square JPEG."""
    frame = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return _jpeg(interpolate(frame, (side, side), mode="bilinear", antialias=True)[0])


def _jpeg(picture: Tensor) -> bytes:
    """(3,h,w) in 0..1 -> JPEG."""
    return bytes(
        encode_jpeg((picture.clamp(0, 1) * 255).round().to(torch.uint8), quality=90).numpy()
    )


def colour(heat: Tensor) -> Tensor:
    """(n,1,h,w) -> (n,3,h,w): red, then orange, then light yellow; lightness alone tells it too."""
    return torch.cat(
        [(heat * 2.2).clamp(0, 1), (heat * 1.6 - 0.45).clamp(0, 1), (heat * 2 - 1.4).clamp(0, 1)],
        dim=1,
    )
