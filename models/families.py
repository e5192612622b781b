"""timm's networks as parts of ours: found by name, of one family, with the norm of their pixels."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import timm
import torch
from torch import nn

from unmask.models.options import ModelError
from unmask.models.spec import NORMS
from unmask.models.weights import Backbone

SHOWN = 6


def settings_of(model: str, backbone: str, family: str) -> Any:
    """timm's settings (`mean`, `std`, `input_size`) of the weights that `backbone`, timm's name
    with its tag, stands for.

    family: timm's module, such as vision_transformer.
    Raises ModelError for a network of another family, and for a name without its tag where there
    are weights: timm would take a default that may be of another maker and licence.
    """
    architecture, _, tag = backbone.partition(".")
    known = timm.list_models(module=family)
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"such as {known[0]}"
        raise ModelError(f"{model}: backbone '{backbone}' is not of timm's {family}; {hint}")
    tags = weights_of(architecture)
    if not tag and not tags:
        return timm.get_pretrained_cfg(architecture)
    if backbone not in tags:
        shown = ", ".join(tags[:SHOWN]) + (", ..." if len(tags) > SHOWN else "")
        raise ModelError(
            f"{model}: backbone '{backbone}' does not name weights of timm; there are: "
            f"{shown or 'none'}"
        )
    return timm.get_pretrained_cfg(backbone)


def weights_of(architecture: str) -> list[str]:
    """timm's names with tags of all weights of an architecture."""
    return timm.list_models(f"{architecture}.*", pretrained=True)


def norm_of(model: str, backbone: str, settings: Any) -> str:
    """The name in NORMS of the pixels a network was trained with. Raises ModelError for others."""
    wanted = (tuple(settings.mean), tuple(settings.std))
    for name, values in NORMS.items():
        if values == wanted:
            return name
    raise ModelError(f"{model}: backbone '{backbone}' wants mean and std {wanted}, which we lack")


def pretrained_part(backbone: str, prefix: str) -> tuple[Backbone, ...]:
    """The weights of a network for `--pretrained`, nothing where timm has none."""
    return (Backbone(backbone, prefix),) if "." in backbone else ()


def fuse_attention(network: nn.Module, fused: bool) -> None:
    """Whether timm's attention layers call scaled_dot_product_attention or multiply out."""
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused


@contextmanager
def attention_for_export(network: nn.Module) -> Iterator[None]:
    """While torch.export walks through, attention is multiplied out: ONNX's form of the fused one
    fails with a mask (operator aten.view).
    """
    layers = [module for module in network.modules() if getattr(module, "fused_attn", False)]
    layers = layers if torch.compiler.is_exporting() else []
    try:
        for layer in layers:
            layer.fused_attn = False
        yield
    finally:
        for layer in layers:
            layer.fused_attn = True


def undecayed(model: nn.Module, patterns: Iterable[str] = ()) -> frozenset[str]:
    """Names of the parameters that weight decay leaves alone, as timm does it: vectors (biases,
    gains of norms), and those that the patterns name.
    """
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim <= 1 or any(fnmatchcase(name, pattern) for pattern in patterns)
    )
