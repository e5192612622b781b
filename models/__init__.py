"""The detectors by name: one table row and one file each, and those that installed packages offer
under the entry-point group `unmask.models`. Importing this package imports no model and no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from unmask.models.options import (
    ModelError,
    check_options,
    nearest,
    option_defaults,
    option_types,
    parse_options,
)
from unmask.models.spec import ClipSpec
from unmask.plugins import Offer, PluginError, offers

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODELS",
    "ModelError",
    "ModelRow",
    "create_model",
    "list_models",
    "model_class",
    "model_row",
    "resolve_options",
    "typed_options",
]


@dataclass(frozen=True)
class ModelRow:
    """Where a model lives and what a list says of it. The class holds the rest: `spec`, `small`,
    its options.

    module, cls: where the class is.
    line: what it looks at, in half a sentence.
    paper: who published it.
    origin: the distribution it comes from, with its version where it is not ours.
    parameters, macs, spec: with default options, so that a list needs neither torch nor timm; a
        test counts them again. Without them a list counts.
    """

    module: str
    cls: str
    line: str
    paper: str
    origin: str = "unmask"
    parameters: int = 0
    macs: int = 0
    spec: ClipSpec | None = None


MODELS: dict[str, ModelRow] = {
    "clrnet": ModelRow(
        "unmask.models.clrnet",
        "CLRNet",
        "ResNet-50 of ConvLSTMs on 5 consecutive frames",
        "Tariq et al., WWW 2021, arXiv 2105.00187",
        parameters=248_107_394,
        macs=88_477_782_016,
        spec=ClipSpec("consecutive", 5, 240),
    ),
    "stil": ModelRow(
        "unmask.models.stil",
        "STIL",
        "spatial and temporal inconsistency of sparse frames",
        "Gu et al., ACM MM 2021, arXiv 2109.01860",
        parameters=22_688_418,
        macs=37_531_106_560,
        spec=ClipSpec("sparse", 8, 224, norm="imagenet"),
    ),
    "xception_lstm": ModelRow(
        "unmask.models.xception_lstm",
        "XceptionLSTM",
        "attention on frames, shared Xception, ConvLSTM",
        "Chen et al., Information Sciences 601, 2022",
        parameters=135_632_756,
        macs=221_465_684_728,
        spec=ClipSpec("chained", 30, 224, norm="half"),
    ),
    "m2tr": ModelRow(
        "unmask.models.m2tr",
        "M2TR",
        "multi-scale transformer on pixels and frequencies of one frame",
        "Wang et al., ICMR 2022, arXiv 2104.09770",
        parameters=17_616_938,
        macs=2_360_734_432,
        spec=ClipSpec("single", 1, 224, norm="imagenet", bands="area"),
    ),
    "lite": ModelRow(
        "unmask.models.lite",
        "Lite",
        "EfficientNet-Lite0 on one frame, ImageNet weights from a package",
        "Tan, Le, ICML 2019, arXiv 1905.11946",
        parameters=3_373_570,
        macs=195_873_760,
        spec=ClipSpec("single", 1, 160, fit="resize", norm="half"),
    ),
    "encoder": ModelRow(
        "unmask.models.encoder",
        "Encoder",
        "a large pretrained encoder on one frame, of which little is trained",
        "Yermakov et al., WACV 2026, arXiv 2508.06248",
        parameters=303_181_826,
        macs=81_011_984_384,
        spec=ClipSpec("single", 1, 224, fit="resize", norm="clip"),
    ),
    "vit": ModelRow(
        "unmask.models.vit",
        "ViT",
        "a Vision Transformer of timm on one frame",
        "Dosovitskiy et al., ICLR 2021, arXiv 2010.11929",
        parameters=85_800_194,
        macs=17_563_061_760,
        spec=ClipSpec("single", 1, 224, fit="resize", norm="half"),
    ),
    "swin": ModelRow(
        "unmask.models.swin",
        "Swin",
        "shifted windows of attention on one frame",
        "Liu et al., ICCV 2021, arXiv 2103.14030",
        parameters=27_520_892,
        macs=4_489_800_192,
        spec=ClipSpec("single", 1, 224, fit="resize", norm="imagenet"),
    ),
    "tall_swin": ModelRow(
        "unmask.models.tall_swin",
        "TallSwin",
        "runs of 4 frames, each laid out as one picture, Swin-B",
        "Xu et al., ICCV 2023, arXiv 2307.07494",
        parameters=86_920_506,
        macs=8 * 16_315_029_504,
        spec=ClipSpec("runs", 32, 112, fit="resize", norm="imagenet", run=4),
    ),
    "vim": ModelRow(
        "unmask.models.vim",
        "Vim",
        "Vision Mamba, scans in both directions over one frame",
        "Zhu et al., ICML 2024, arXiv 2401.09417",
        parameters=6_955_394,
        macs=1_466_818_944,
        spec=ClipSpec("single", 1, 224, fit="resize", norm="imagenet"),
    ),
    "meso4": ModelRow(
        "unmask.models.mesonet",
        "Meso4",
        "four convolutions on one frame",
        "Afchar et al., WIFS 2018, arXiv 1809.00888",
        parameters=27_994,
        macs=60_047_392,
        spec=ClipSpec("single", 1, 256, fit="resize"),
    ),
    "mesoinception4": ModelRow(
        "unmask.models.mesonet",
        "MesoInception4",
        "four convolutions, two of them of several widths, on one frame",
        "Afchar et al., WIFS 2018, arXiv 1809.00888",
        parameters=28_632,
        macs=57_098_272,
        spec=ClipSpec("single", 1, 256, fit="resize"),
    ),
    "dct_cnn": ModelRow(
        "unmask.models.dct_cnn",
        "DCTCNN",
        "shallow convolutions on the stored DCT coefficients of one frame",
        "Frank et al., ICML 2020, arXiv 2003.08685",
        parameters=63_724,
        macs=12_628_800,
        spec=ClipSpec("single", 1, 240, fit="resize", bands="area", coefficients=True),
    ),
}


def _offers() -> dict[str, Offer]:
    return offers("models", frozenset(MODELS))


def list_models() -> list[str]:
    """Names create_model takes: unmask's own in the order of the table, then those of installed
    packages.
    """
    return [*MODELS, *_offers()]


def model_class(name: str) -> type[nn.Module]:
    """The class behind a name.

    Raises ModelError for an unknown one, naming the nearest, and for one whose package is broken.
    """
    if name in MODELS:
        row = MODELS[name]
        return getattr(importlib.import_module(row.module), row.cls)
    if name not in (known := _offers()):
        raise ModelError(f"no model '{name}'{nearest(name, list_models())}")
    try:
        return _offered_class(known[name])
    except PluginError as error:
        raise ModelError(str(error)) from error


def model_row(name: str) -> ModelRow:
    """What a list says of a model; of somebody's package its class's `line` and `paper`.

    Raises ModelError, as model_class.
    """
    if name in MODELS:
        return MODELS[name]
    cls = model_class(name)
    line, paper = (str(getattr(cls, word, "")) for word in ("line", "paper"))
    return ModelRow(cls.__module__, cls.__qualname__, line, paper, _offers()[name].origin)


@cache
def _offered_class(offer: Offer) -> type[nn.Module]:
    """Somebody's model once it has what every road needs. Raises PluginError."""
    from torch import nn

    cls = offer.load()
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise offer.fault(f"{cls!r:.80} is not a class of torch.nn.Module")
    if not callable(getattr(cls, "outputs", None)):
        raise offer.fault("it has no method `outputs(clip, bands)`")
    if not isinstance(getattr(cls, "small", None), Mapping):
        raise offer.fault("it has no `small`, the options of its tests")
    try:
        option_types(cls)
    except (KeyError, NameError, TypeError) as error:
        raise offer.fault(f"its options need types; {error}") from error
    return cls


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
