"""The detectors by name: one table row and one file each. Importing this package imports no model
and no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unmask.models.options import ModelError, check_options, nearest, option_defaults, parse_options

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODELS",
    "ModelError",
    "ModelRow",
    "create_model",
    "list_models",
    "model_class",
    "resolve_options",
    "typed_options",
]


@dataclass(frozen=True)
class ModelRow:
    """Where a model lives and what a list says of it. The class holds the rest: `spec`, `small`,
    its options.
    """

    module: str
    cls: str
    line: str
    paper: str


MODELS: dict[str, ModelRow] = {
    "clrnet": ModelRow(
        "unmask.models.clrnet",
        "CLRNet",
        "ResNet-50 of ConvLSTMs on 5 consecutive frames",
        "Tariq et al., WWW 2021, arXiv 2105.00187",
    ),
    "stil": ModelRow(
        "unmask.models.stil",
        "STIL",
        "spatial and temporal inconsistency of sparse frames",
        "Gu et al., ACM MM 2021, arXiv 2109.01860",
    ),
    "xception_lstm": ModelRow(
        "unmask.models.xception_lstm",
        "XceptionLSTM",
        "attention on frames, shared Xception, ConvLSTM",
        "Chen et al., Information Sciences 601, 2022",
    ),
    "m2tr": ModelRow(
        "unmask.models.m2tr",
        "M2TR",
        "multi-scale transformer on pixels and frequencies of one frame",
        "Wang et al., ICMR 2022, arXiv 2104.09770",
    ),
}


def list_models() -> list[str]:
    """Names create_model takes, in the order of the table."""
    return list(MODELS)


def model_class(name: str) -> type[nn.Module]:
    """The class behind a name. Raises ModelError for an unknown one, naming the nearest."""
    if name not in MODELS:
        raise ModelError(f"no model '{name}'{nearest(name, MODELS)}")
    row = MODELS[name]
    return getattr(importlib.import_module(row.module), row.cls)


def create_model(name: str, **options: Any) -> nn.Module:
    """Build a detector with fresh weights: `spec`, `outputs(clip, bands) -> dict`, `forward ->
    logits (B, 2)`.

    options: keyword arguments of the model's class. Under `torch.device("meta")` nothing is
    computed or allocated.
    Raises ModelError for an unknown name, an unknown option (naming the nearest) or a value of
    another type.
    """
    cls = model_class(name)
    return cls(**check_options(cls, name, options))


def resolve_options(
    name: str, options: Mapping[str, Any], *, pretrained: bool = False
) -> dict[str, Any]:
    """All options of a model, the given ones and the defaults of the others: what a run writes
    down.

    pretrained: the defaults that fit downloaded weights (`pretrained_options` of the class), where
    they differ.
    Raises ModelError.
    """
    cls = model_class(name)
    given = check_options(cls, name, options)
    fitting = getattr(cls, "pretrained_options", {}) if pretrained else {}
    return {**option_defaults(cls), **fitting, **given}


def typed_options(name: str, texts: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Options as written on a command line, `width=16`, in the types of the model's signature.
    Raises ModelError.
    """
    return parse_options(model_class(name), name, texts)
