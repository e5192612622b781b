"""Random changes of training clips, on the device the clip is on: one draw per clip, shared by all
its frames.

Every number comes from the sample's own generator, so that a sample looks the same whichever
process, thread or resumed run makes it. Evaluation never comes here. The released code that each
follows is named at the top of models/recipes/published.py; what albumentations does there by itself
is its version 1.x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad
from torchvision.transforms.v2 import functional as tv

from unmask.pipeline.clips.h264 import h264
from unmask.pipeline.clips.prepare import Augment
from unmask.pipeline.clips.tall_changes import cut_out, multi_scale_box
from unmask.pipeline.errors import UsageError

# (clip (T,3,S,S) uint8, masks (T,1,S,S) uint8 or None, numbers, side the model eats) -> clip,
# masks.
Change = Callable[[Tensor, Tensor | None, np.random.Generator, int], tuple[Tensor, Tensor | None]]


def _bytes(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def warp(
    images: Tensor,
    degrees: float,
    zoom: tuple[float, float],
    mode: str = "bilinear",
    shift: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """(T,C,S,S) rotated about the centre, zoomed in x and y, and moved by shares of the side in x
    and y; beyond the border the border pixel
    goes on (Keras `fill_mode="nearest"`). Zoom > 1 shows more of the picture, as in Keras.
    torchvision's affine can only fill black.
    """
    angle = math.radians(degrees)
    matrix = [
        [math.cos(angle) * zoom[0], -math.sin(angle) * zoom[1], -2 * shift[0]],
        [math.sin(angle) * zoom[0], math.cos(angle) * zoom[1], -2 * shift[1]],
    ]
    theta = torch.tensor(matrix, device=images.device).expand(len(images), 2, 3)
    grid = affine_grid(theta, list(images.shape), align_corners=False)  # (T,S,S,2) x,y in -1..1
    return _bytes(
        grid_sample(images.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    )


def channel_shift(clip: Tensor, levels: float) -> Tensor:
    """All channels up or down by `levels`, clipped to the range each picture had (Keras
    `channel_shift_range`).
    """
    values = clip.float()
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return _bytes(torch.minimum(torch.maximum(values + levels, low), high))


def brightness(clip: Tensor, factor: float) -> Tensor:
    """Values of a clip (uint8) times the factor, cut to 0..255."""
    return _bytes(clip.float() * factor)


def flip(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """Left and right exchanged with probability 0.5."""
    if rng.random() >= 0.5:
        return clip, masks
    return clip.flip(-1), None if masks is None else masks.flip(-1)


def reverse_time(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """The frames in the opposite order with probability 0.5 (STIL, video_dataset.py)."""
    if rng.random() >= 0.5:
        return clip, masks
    return clip.flip(0), None if masks is None else masks.flip(0)


def _keras(degrees: float, light: tuple[float, float]) -> Change:
    """Rotation, zoom 0.8..1.2 per axis, shift of +-50 levels, flip, brightness: Keras' generator,
    in its order.
    """

    def change(
        clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
    ) -> tuple[Tensor, Tensor | None]:
        angle, zoom = rng.uniform(-degrees, degrees), (rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2))
        clip = channel_shift(warp(clip, angle, zoom), rng.uniform(-50, 50))
        masks = None if masks is None else warp(masks, angle, zoom, mode="nearest")
        clip, masks = flip(clip, masks, rng, size)
        return brightness(clip, rng.uniform(*light)), masks

    return change


def _cut(images: Tensor, box: tuple[int, int, int, int], size: int, smooth: bool = True) -> Tensor:
    """(T,C,S,S) -> (T,C,size,size): the box (y, x, height, width) resized."""
    y, x, height, width = box
    part = images[..., y : y + height, x : x + width].float()
    mode = "bilinear" if smooth else "nearest"
    return _bytes(interpolate(part, size=(size, size), mode=mode, antialias=smooth))


def _random_box(
    rng: np.random.Generator, side: int, height: float, width: float
) -> tuple[int, int, int, int]:
    tall, wide = min(side, max(1, round(height))), min(side, max(1, round(width)))
    return int(rng.integers(side - tall + 1)), int(rng.integers(side - wide + 1)), tall, wide


def square(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """A square of side 0.75..1.0 resized to the model's side: STIL's random face margin inside a
    finished crop.
    """
    side = clip.shape[-1] * rng.uniform(0.75, 1.0)
    box = _random_box(rng, clip.shape[-1], side, side)
    return _cut(clip, box, size), None if masks is None else _cut(masks, box, size, smooth=False)


def resized_crop(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """0.8..1.0 of the area with ratio 3/4..4/3, resized to the model's side (M2TR's m2tr.yaml)."""
    side = clip.shape[-1]
    area, ratio = (
        side * side * rng.uniform(0.8, 1.0),
        math.exp(rng.uniform(math.log(0.75), math.log(4 / 3))),
    )
    box = _random_box(rng, side, math.sqrt(area / ratio), math.sqrt(area * ratio))
    return _cut(clip, box, size), None if masks is None else _cut(masks, box, size, smooth=False)


def clahe(clip: Tensor, limit: float, tiles: int = 8) -> Tensor:
    """Contrast-limited adaptive histogram equalisation of the luma, `tiles` x `tiles` (Zuiderveld
    1994).

    limit: highest bin over the mean bin. Histograms per tile, clipped, what was cut is spread
    evenly; each pixel takes the bilinear mean of the four nearest tiles' curves. The luma change is
    added to all three channels.
    """
    frames, _, side, _ = clip.shape
    cell = side // tiles
    luma = (
        clip.float() * clip.new_tensor([0.299, 0.587, 0.114], dtype=torch.float32).view(1, 3, 1, 1)
    ).sum(1)
    level = luma.round().long()  # (T,S,S)
    inner = (
        level[:, : cell * tiles, : cell * tiles]
        .unflatten(1, (tiles, cell))
        .unflatten(3, (tiles, cell))
    )
    inner = inner.transpose(2, 3).reshape(frames, tiles * tiles, cell * cell)
    counts = torch.zeros(frames, tiles * tiles, 256, device=clip.device)
    counts.scatter_add_(2, inner, torch.ones_like(inner, dtype=torch.float32))
    top = max(1.0, limit * cell * cell / 256)
    excess = (counts - top).clamp_min(0).sum(2, keepdim=True)
    curve = (counts.clamp_max(top) + excess / 256).cumsum(2) * (255 / (cell * cell))
    curve = curve.view(frames, tiles, tiles, 256)
    place = ((torch.arange(side, device=clip.device) + 0.5) / cell - 0.5).clamp(0, tiles - 1)
    low = place.floor().long()
    high, part = (low + 1).clamp_max(tiles - 1), place - low
    t = torch.arange(frames, device=clip.device).view(-1, 1, 1)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        return curve[t, rows.view(1, -1, 1), columns.view(1, 1, -1), level]  # (T,S,S)

    across = part.view(1, 1, -1)
    above = torch.lerp(at(low, low), at(low, high), across)
    below = torch.lerp(at(high, low), at(high, high), across)
    mapped = torch.lerp(above, below, part.view(1, -1, 1))
    return _bytes(clip.float() + (mapped - luma).unsqueeze(1))


def rgb_to_hsv(clip: Tensor) -> Tensor:
    """(T,3,S,S) bytes -> hue 0..1 (a circle), saturation 0..1, value 0..1."""
    unit = clip.float() / 255
    value, _ = unit.max(1)
    spread = value - unit.amin(1)
    red, green, blue = unit.unbind(1)
    safe = spread.clamp_min(1e-8)
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return torch.stack([(sixths / 6) % 1, spread / value.clamp_min(1e-8), value], 1)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """The inverse of rgb_to_hsv, rounded to bytes."""
    hue, saturation, value = hsv.unbind(1)
    # Each channel is value, less up to saturation * value on the far side of the colour circle.
    away = [((offset + hue * 6) % 6) for offset in (5.0, 3.0, 1.0)]
    channels = [value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1) for k in away]
    return _bytes(torch.stack(channels, 1) * 255)


def shift_hsv(clip: Tensor, hue: float, saturation: float, value: float) -> Tensor:
    """Hue turned by so many of 180 steps, saturation and value up or down by so many of 255, as
    OpenCV counts.
    """
    hsv = rgb_to_hsv(clip)
    turned = (hsv[:, 0] + hue / 180) % 1
    shifted = (hsv[:, 1:] + hsv.new_tensor([saturation, value]).view(2, 1, 1) / 255).clamp(0, 1)
    return hsv_to_rgb(torch.cat([turned[:, None], shifted], 1))


def sharpen(clip: Tensor, alpha: float, lightness: float) -> Tensor:
    """A mixture, alpha to one, with the 3x3 kernel of 8 + lightness amid -1; the border goes on."""
    kernel = torch.full((3, 3), -alpha, device=clip.device)
    kernel[1, 1] = (1 - alpha) + alpha * (8 + lightness)
    channels = clip.shape[1]
    padded = pad(clip.float(), (1, 1, 1, 1), mode="replicate")
    return _bytes(conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels))


def jitter(clip: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation times 0.8..1.2 each, hue +-0.2 of the circle, in random
    order.
    """
    light, contrast, saturation = rng.uniform(0.8, 1.2, 3)
    hue = rng.uniform(-0.2, 0.2)
    changes = [
        lambda images: tv.adjust_brightness(images, light),
        lambda images: tv.adjust_contrast(images, contrast),
        lambda images: tv.adjust_saturation(images, saturation),
        lambda images: tv.adjust_hue(images, hue),
    ]
    for place in rng.permutation(len(changes)):
        clip = changes[place](clip)
    return clip


def light_and_contrast(clip: Tensor, rng: np.random.Generator, most: float) -> Tensor:
    """Grey levels times 1 +- most, then up or down by +- most of the full range."""
    factor, shift = 1 + rng.uniform(-most, most), 255 * rng.uniform(-most, most)
    return _bytes(clip.float() * factor + shift)


def hue_and_saturation(clip: Tensor, rng: np.random.Generator) -> Tensor:
    """Hue +-20 of 180, saturation +-30 and value +-20 of 255."""
    return shift_hsv(clip, rng.uniform(-20, 20), rng.uniform(-30, 30), rng.uniform(-20, 20))


def colour(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """Always one of colour jitter, light and contrast, hue and saturation, CLAHE, gamma,
    sharpening, in the ranges of albumentations' defaults (M2TR's m2tr.yaml names no others).
    """
    kind = int(rng.integers(6))
    if kind == 0:
        clip = jitter(clip, rng)
    elif kind == 1:
        clip = light_and_contrast(clip, rng, 0.2)
    elif kind == 2:
        clip = hue_and_saturation(clip, rng)
    elif kind == 3:
        clip = clahe(clip, rng.uniform(1.0, 4.0))
    elif kind == 4:
        clip = tv.adjust_gamma(clip, rng.uniform(0.8, 1.2))
    else:
        clip = sharpen(clip, rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0))
    return clip, masks


def deepfakebench(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """Flip, rotation +-10 degrees, Gaussian blur 3..7 px, light and contrast +-0.1 or hue and
    saturation, JPEG 40..100: each with probability 0.5 (DeepfakeBench's stil.yaml).

    Ours: beyond the border the border pixel goes on (theirs mirrors), and its third choice of
    colour change, noise along the principal colours, is left out.
    """
    clip, masks = flip(clip, masks, rng, size)
    if rng.random() < 0.5:
        degrees = rng.uniform(-10, 10)
        clip = warp(clip, degrees, (1, 1))
        masks = None if masks is None else warp(masks, degrees, (1, 1), mode="nearest")
    if rng.random() < 0.5:
        clip = tv.gaussian_blur(clip, [int(rng.choice([3, 5, 7]))] * 2)
    if rng.random() < 0.5:
        light = rng.random() < 0.5
        clip = light_and_contrast(clip, rng, 0.1) if light else hue_and_saturation(clip, rng)
    return _jpeg(40, 100, 0.5)(clip, masks, rng, size)


def gend(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """Flip, rotation +-10 degrees with a shift of +-0.1 and a scale of 0.9..1.1, a Gaussian blur of
    7 px in one clip of ten, light and contrast +-0.1, JPEG 40..100 always (GenD's training code).

    Ours: beyond the border the border pixel goes on (theirs is black there).
    """
    clip, masks = flip(clip, masks, rng, size)
    degrees, scale = rng.uniform(-10, 10), rng.uniform(0.9, 1.1)
    shift = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1))
    clip = warp(clip, degrees, (1 / scale, 1 / scale), shift=shift)
    if masks is not None:
        masks = warp(masks, degrees, (1 / scale, 1 / scale), mode="nearest", shift=shift)
    if rng.random() < 0.1:
        clip = tv.gaussian_blur(clip, [7, 7], [rng.uniform(0.1, 2.0)] * 2)
    clip = light_and_contrast(clip, rng, 0.1)
    return _jpeg(40, 100, 1.0)(clip, masks, rng, size)


def noise(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """Gaussian noise of variance 10..50 grey levels squared, with probability 0.5."""
    if rng.random() >= 0.5:
        return clip, masks
    sigma = math.sqrt(rng.uniform(10, 50))
    drawn = torch.from_numpy(rng.standard_normal(tuple(clip.shape), np.float32)).to(clip.device)
    return _bytes(clip.float() + sigma * drawn), masks


def multi_scale(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """One of the boxes of TALL's multi-scale crop, the same in every frame, resized to the model's
    side.
    """
    box = multi_scale_box(clip.shape[-1], size, rng)
    return _cut(clip, box, size), None if masks is None else _cut(masks, box, size, smooth=False)


def margin(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """A square of side 0.85..1.0 resized to the model's side, its masks smoothly: what SBI's random
    margin of the box leaves to vary in a finished crop.
    """
    side = clip.shape[-1] * rng.uniform(0.85, 1.0)
    box = _random_box(rng, clip.shape[-1], side, side)
    return _cut(clip, box, size), None if masks is None else _cut(masks, box, size)


def shades(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """Channels +-20 levels, hue, saturation and value by 5 degrees and a tenth, light and contrast
    +-0.3, each with probability 0.3: SBI's changes of both halves, pixel by pixel.
    """
    if rng.random() < 0.3:
        clip = _bytes(
            clip.float()
            + clip.new_tensor(rng.uniform(-20, 20, 3), dtype=torch.float32).view(1, 3, 1, 1)
        )
    if rng.random() < 0.3:
        clip = shift_hsv(clip, rng.uniform(-2.5, 2.5), *rng.uniform(-25, 25, 2))
    if rng.random() < 0.3:
        clip = light_and_contrast(clip, rng, 0.3)
    return clip, masks


def _jpeg(low: int, high: int, chance: float) -> Change:
    def change(
        clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
    ) -> tuple[Tensor, Tensor | None]:
        if rng.random() >= chance:
            return clip, masks
        quality = int(rng.integers(low, high + 1))
        return tv.jpeg(clip.cpu(), quality).to(clip.device), masks

    return change


def video_codec(
    clip: Tensor, masks: Tensor | None, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor | None]:
    """The clip through a real H.264 encoder and back, crf 18..40, with probability 0.5 (on the
    CPU).
    """
    if rng.random() >= 0.5:
        return clip, masks
    frames = h264(clip.permute(0, 2, 3, 1).cpu().numpy(), int(rng.integers(18, 41)))
    return torch.from_numpy(frames).permute(0, 3, 1, 2).to(clip.device), masks


# What a recipe or --augment may name; several are applied in the order given.
AUGMENTS: dict[str, tuple[Change, ...]] = {
    "none": (),
    "flip": (flip,),
    "jpeg": (_jpeg(50, 95, 0.5),),
    "h264": (video_codec,),
    "noise": (noise,),
    "reverse": (reverse_time,),
    "clrnet": (_keras(30, (0.7, 1.0)),),
    "xception_lstm": (_keras(45, (0.5, 1.5)),),
    "stil": (square, flip, reverse_time),
    "deepfakebench": (deepfakebench,),
    "gend": (gend,),
    "m2tr": (colour, noise, flip, _jpeg(65, 80, 0.5), resized_crop),
    "tall": (multi_scale, flip, cut_out),
    # The seam must survive compression, or 8-bit rounding is what is learnt.
    "self_blend": (flip, shades, margin, video_codec, _jpeg(40, 100, 0.5)),
}


# They put pixels elsewhere and change none: what is known of the pixels can be moved along.
MOVES = (flip, reverse_time)


def only_moves(names: Sequence[str]) -> bool:
    """Whether the named changes mirror or reverse a clip at most, so that every pixel keeps its
    value.
    """
    return all(change in MOVES for name in names for change in AUGMENTS.get(name, ()))


def build_augment(names: Sequence[str], size: int) -> Augment | None:
    """The named changes one after the other for a model of side `size`, or None when there are
    none.

    Raises UsageError for a name that is not in AUGMENTS.
    """
    unknown = [name for name in names if name not in AUGMENTS]
    if unknown:
        raise UsageError(f"no augmentation '{unknown[0]}'; there are {', '.join(AUGMENTS)}")
    changes = [change for name in names for change in AUGMENTS[name]]
    if not changes:
        return None

    def augment(
        clip: Tensor, masks: Tensor | None, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        for change in changes:
            clip, masks = change(clip, masks, rng, size)
        return clip, masks

    return augment
