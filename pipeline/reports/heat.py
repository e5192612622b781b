"""Grad-CAM: which places of a clip moved the score, and how they are drawn over the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.models.layers.pictures import untiled
from unmask.models.spec import NORMS, ClipSpec
from unmask.pipeline.clips.prepare import Batch
from unmask.pipeline.records import FAKE

LEAST_PLACES = 7
# Maps that are tried from the last one back: a network whose answer hangs on none of them has none.
MOST_TRIED = 8
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
    """The module that made the last map with enough places whose places reach the decision; of
    smaller maps the last; None where there is none.

    Where one class token decides, nothing else of the last norm's output does, and the last map is
    what the last attention reads.
    """
    found: list[tuple[int, nn.Module]] = []

    def note(module: nn.Module, _: object, out: object) -> None:
        # of tokens only what a norm gives: before it a few channels outweigh all others
        if isinstance(out, Tensor) and out.ndim == 3 and not is_norm(module):
            return
        places = as_maps(out, pictures_in(model, frames), extra_tokens(model))
        if places is not None:
            found.append((min(places.shape[-2:]), module))

    with hooked(model.modules(), note), torch.no_grad():
        model.outputs(batch.pixels, batch.bands)
    least = LEAST_PLACES * getattr(model, "grid", 1)
    large = [module for side, module in found if side >= least]
    tried = large or [module for _, module in found]
    for module in tried[: -1 - MOST_TRIED : -1]:
        _, slopes = maps_and_slopes(model, batch, module, frames)
        if slopes is not None and slopes.any():
            return module
    return tried[-1] if tried else None


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises tokens: torch's and timm's layer norms."""
    return "norm" in type(module).__name__.lower()


def pictures_in(model: nn.Module, frames: int) -> int:
    """How many pictures a model makes of so many frames: fewer where it lays them out."""
    return -(-frames // getattr(model, "grid", 1) ** 2)


def extra_tokens(model: nn.Module) -> tuple[int, ...] | None:
    """Which of a model's tokens show no place of the picture: those that it lists, those that timm
    counts in front in a part of it; None where nobody says.
    """
    listed = getattr(model, "extra_tokens", None)
    counts = (getattr(part, "num_prefix_tokens", None) for part in model.children())
    front = next((count for count in counts if count is not None), None)
    return listed if listed is not None or front is None else tuple(range(front))


@contextmanager
def hooked(modules: object, hook: Callable):
    """Call the hook after every forward pass of the modules, as long as the block lasts."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def as_maps(out: object, frames: int, extra: tuple[int, ...] | None = None) -> Tensor | None:
    """A module's output as maps (n,C,h,w) with n = frames or 1, or None when it is something
    else.

    extra: tokens that are no places; without it there may be one in front.
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
        return _tokens(out, extra)
    return None


def _tokens(out: Tensor, extra: tuple[int, ...] | None) -> Tensor | None:
    """(n, places, C) of a square grid, among tokens that are none."""
    count = out.shape[1]
    for without in ((), (0,)) if extra is None else (extra,):
        side = math.isqrt(max(0, count - len(without)))
        if side > 1 and side * side == count - len(without):
            kept = [place for place in range(count) if place not in without]
            return out[:, kept].transpose(1, 2).unflatten(2, (side, side))
    return None


def grad_cam(model: nn.Module, batch: Batch, layer: nn.Module, frames: int) -> Tensor:
    """(n,h,w) in 0..1: positive part of the channel sum weighted with the mean gradient.

    The gradient is that of the decision (fake minus real, or its opposite when the model says
    real), so that heat
    always means: this made the model say what it said. Of a picture of several frames each frame
    gets its own part.
    """
    maps, slopes = maps_and_slopes(model, batch, layer, frames)
    if maps is None or slopes is None:
        return torch.zeros(1, 1, 1)
    heat = (maps * slopes.mean((2, 3), keepdim=True)).sum(1).clamp_min(0)
    heat = heat / heat.amax().clamp_min(1e-12)
    grid = getattr(model, "grid", 1)
    if grid == 1:
        return heat
    side = -(-heat.shape[-1] // grid) * grid
    whole = interpolate(heat[:, None], (side, side), mode="bilinear")[:, 0]
    return untiled(whole, grid)[:frames]


def maps_and_slopes(
    model: nn.Module, batch: Batch, layer: nn.Module, frames: int
) -> tuple[Tensor | None, Tensor | None]:
    """What a layer gives and the decision's gradient there, (n,C,h,w) each; None where the decision
    does not depend on it.
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
    pictures, extra = pictures_in(model, frames), extra_tokens(model)
    return as_maps(kept[-1].detach(), pictures, extra), as_maps(gradient, pictures, extra)


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
    rgb = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()  # (h,w,3)
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def colour(heat: Tensor) -> Tensor:
    """(n,1,h,w) -> (n,3,h,w): red, then orange, then light yellow; lightness alone tells it too."""
    return torch.cat(
        [(heat * 2.2).clamp(0, 1), (heat * 1.6 - 0.45).clamp(0, 1), (heat * 2 - 1.4).clamp(0, 1)],
        dim=1,
    )
