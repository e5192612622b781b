"""Large pretrained image encoders that timm has, by name: what each eats, its weights' licence.

Names are timm's with their tag, because a name without one takes other people's weights
(`vit_large_patch14_clip_quickgelu_224` those of DFN, under Apple's licence). Importing this file
imports no torch and no timm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unmask.models.options import ModelError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Known:
    """One encoder.

    source: timm's name with its tag.
    norm: of its pixels, a name of NORMS.
    licence: of the weights.
    parameters: without a classifier, at 224 px; norms: those of them in LayerNorms.
    pool: token for the class token where timm's own choice is another, "" for timm's (attention
        pool, mean).
    sized: positions are made for a side, so that it must be said before weights are loaded.
    """

    source: str
    norm: str
    licence: str
    parameters: int
    norms: int
    pool: str = ""
    sized: bool = True


_DINOV3 = "DINOv3 licence (conditions; Meta asks for agreement first)"
_CONVNEXT = {"sized": False}

# unmask's short name -> encoder
BACKBONES: dict[str, Known] = {
    "clip-b": Known(
        "vit_base_patch16_clip_quickgelu_224.openai", "clip", "MIT", 85_799_424, 39_936, "token"
    ),
    "clip-l": Known(
        "vit_large_patch14_clip_quickgelu_224.openai", "clip", "MIT", 303_179_776, 102_400, "token"
    ),
    "dinov2-s": Known(
        "vit_small_patch14_dinov2.lvd142m", "imagenet", "Apache-2.0", 21_628_800, 19_200, "token"
    ),
    "dinov2-b": Known(
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "imagenet",
        "Apache-2.0",
        85_727_232,
        38_400,
        "token",
    ),
    "dinov2-l": Known(
        "vit_large_patch14_reg4_dinov2.lvd142m",
        "imagenet",
        "Apache-2.0",
        303_230_976,
        100_352,
        "token",
    ),
    "dinov3-s": Known(
        "vit_small_patch16_dinov3.lvd1689m", "imagenet", _DINOV3, 21_586_944, 19_200, "token"
    ),
    "dinov3-b": Known(
        "vit_base_patch16_dinov3.lvd1689m", "imagenet", _DINOV3, 85_641_216, 38_400, "token"
    ),
    "dinov3-l": Known(
        "vit_large_patch16_dinov3.lvd1689m", "imagenet", _DINOV3, 303_079_424, 100_352, "token"
    ),
    "dinov3-convnext-t": Known(
        "convnext_tiny.dinov3_lvd1689m", "imagenet", _DINOV3, 27_820_128, 16_320, **_CONVNEXT
    ),
    "dinov3-convnext-s": Known(
        "convnext_small.dinov3_lvd1689m", "imagenet", _DINOV3, 49_454_688, 30_144, **_CONVNEXT
    ),
    "dinov3-convnext-b": Known(
        "convnext_base.dinov3_lvd1689m", "imagenet", _DINOV3, 87_566_464, 40_192, **_CONVNEXT
    ),
    "pe-core-t": Known("vit_pe_core_tiny_patch16_384.fb", "half", "Apache-2.0", 5_969_280, 10_368),
    "pe-core-s": Known(
        "vit_pe_core_small_patch16_384.fb", "half", "Apache-2.0", 23_440_128, 20_736
    ),
    "pe-core-b": Known("vit_pe_core_base_patch16_224.fb", "half", "Apache-2.0", 92_886_528, 41_472),
    "pe-core-l": Known(
        "vit_pe_core_large_patch14_336.fb", "half", "Apache-2.0", 315_774_976, 104_448
    ),
    "siglip2-b": Known(
        "vit_base_patch16_siglip_224.v2_webli", "half", "Apache-2.0", 92_884_224, 39_936
    ),
    "siglip2-so400m": Known(
        "vit_so400m_patch14_siglip_224.v2_webli", "half", "Apache-2.0", 427_680_704, 129_024
    ),
    "vit-b": Known(
        "vit_base_patch16_224.augreg_in21k", "half", "Apache-2.0", 85_798_656, 38_400, "token"
    ),
}
_BY_SOURCE = {known.source: known for known in BACKBONES.values()}


def find_backbone(name: str) -> Known:
    """An encoder by unmask's short name or by timm's with its tag; any of timm's will do.

    Raises ModelError for an unknown one, one without its tag, and one whose pixels are normalised
    in a way that NORMS does not have.
    """
    known = BACKBONES.get(name) or _BY_SOURCE.get(name)
    return known or _timms_own(name)


def _timms_own(name: str) -> Known:
    """One that this table does not have, as timm describes it."""
    import timm

    from unmask.models.families import SHOWN, norm_of, weights_of

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise ModelError(f"encoder: no backbone '{name:.80}'{nearest(name, BACKBONES)}")
    there = weights_of(architecture)
    if name not in there:
        raise ModelError(
            f"encoder: backbone '{name:.80}' needs the tag of its weights; timm has "
            f"{', '.join(there[:SHOWN]) or 'none'}"
        )
    cfg = timm.get_pretrained_cfg(name)
    licence, sized = str(cfg.license or "not known"), bool(cfg.fixed_input_size)
    return Known(name, norm_of("encoder", name, cfg), licence, 0, 0, sized=sized)


def how_it_is_made(known: Known, size: int) -> dict[str, Any]:
    """Keyword arguments of timm.create_model for pictures of `size` px, without a classifier."""
    made: dict[str, Any] = {"num_classes": 0}
    if known.pool:
        made["global_pool"] = known.pool
    if known.sized:
        made["img_size"] = size
    return made


def make_backbone(known: Known, size: int) -> nn.Module:
    """The encoder with fresh weights. Raises ModelError for a side that its patches do not fill."""
    import timm

    architecture, made = known.source.partition(".")[0], how_it_is_made(known, size)
    patch = 14 if "patch14" in architecture else 16
    if known.sized and (size < 2 * patch or size % patch):
        raise ModelError(f"encoder: size {size} is not a multiple of its patch of {patch} px")
    return timm.create_model(architecture, **made)
