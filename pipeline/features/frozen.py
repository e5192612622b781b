"""An encoder that learns nothing, with the weights that somebody named, and what identifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.models import create_model
from unmask.models.options import ModelError, nearest
from unmask.models.weights import load_pretrained, load_tensors
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.features.settings import FeatureSettings
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.run_folder import Run, load_model, open_run

MODEL = "encoder"
# Options of the model that decide its features; all others are the head's.
KEPT = ("backbone", "size", "fit")
RANDOM = "random:"
LOW_RANK = (".down", ".up")


@dataclass(frozen=True)
class Frozen:
    """An encoder whose features are stored.

    model: of models/encoder.py, tune=none, eval mode.
    settings: what identifies its features.
    """

    model: Any
    settings: FeatureSettings


def frozen_encoder(options: Mapping[str, Any], origin: str, crops: str) -> Frozen:
    """The encoder of these options.

    options: of KEPT.
    origin: timm, random:SEED, a .safetensors file with its tensors, or the folder of a run.
    crops: cache key of what it will see.
    Raises ModelError (an unknown backbone, weights that cannot be had), CheckpointError, UsageError
    for an option that features do not depend on.
    """
    for option in options:
        if option not in KEPT:
            raise UsageError(
                f"features depend on {', '.join(KEPT)} alone, not on '{option:.40}'"
                f"{nearest(option, KEPT)}; other options are for `train --features`"
            )
    torch.manual_seed(int(origin.removeprefix(RANDOM)) if origin.startswith(RANDOM) else 0)
    model: Any = create_model(MODEL, **options, tune="none").eval()
    if origin == "timm":
        load_pretrained(model)
    elif not origin.startswith(RANDOM):
        path = Path(origin)
        _take_trained(model, path) if path.is_dir() else _take_encoder(model, path)
    spec, (part,) = model.spec, model.pretrained
    settings = FeatureSettings(
        crops=crops,
        backbone=part.source,
        size=spec.size,
        fit=spec.fit,
        norm=spec.norm,
        weights=fingerprint(model.encoder),
        origin=origin,
    )
    return Frozen(model, settings)


def rebuilt(settings: FeatureSettings) -> Frozen:
    """The encoder that stored features came from.

    Raises CheckpointError where its weights are not to be had any more, or are others.
    """
    options = {name: getattr(settings, name) for name in KEPT}
    try:
        found = frozen_encoder(options, settings.origin, settings.crops)
    except ModelError as error:
        raise CheckpointError(str(error)) from error
    if found.settings.weights != settings.weights:
        raise CheckpointError(
            f"{settings.key}: its features are of weights {settings.weights[:12]} "
            f"({settings.origin}), here are {found.settings.weights[:12]}; compute the features "
            "again"
        )
    return found


def fingerprint(encoder: nn.Module) -> str:
    """sha256 over the names, shapes and bytes of its tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(_bytes_of(value))
    return digest.hexdigest()


def _bytes_of(value: Tensor) -> memoryview:
    return memoryview(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def options_of(run: Run) -> dict[str, Any]:
    """The options of a run's encoder that decide its features. Raises UsageError for a run of
    another model, and for one that sees thumbnails: their features are of no single frame.
    """
    if run.model != MODEL:
        raise UsageError(f"{run.folder}: a run of {run.model}; only {MODEL} has stored features")
    if run.options.get("thumbnail", "none") != "none":
        raise UsageError(f"{run.folder}: its encoder sees four frames as one picture")
    return {name: run.options[name] for name in KEPT}


def _take_trained(model: Any, folder: Path) -> None:
    """The encoder of a run's best weights, low-rank changes merged. Raises CheckpointError,
    UsageError.
    """
    run = open_run(folder)
    options_of(run)
    trained: Any = load_model(run)[0]
    trained.merge()
    model.encoder.load_state_dict(trained.encoder.state_dict())


def _take_encoder(model: nn.Module, path: Path) -> None:
    """The encoder's tensors out of a file of a run or of an encoder alone. Raises CheckpointError,
    ModelError.
    """
    tensors = checkpoint.read_weights(path)
    if not any(name.startswith("encoder.") for name in tensors):
        tensors = {f"encoder.{name}": value for name, value in tensors.items()}
    if any(name.endswith(LOW_RANK) for name in tensors):
        raise CheckpointError(
            f"{path}: holds low-rank changes, whose strength only their run knows; name it: --run"
        )
    report = load_tensors(model, tensors, str(path), "encoder")
    if report.missing or report.reshaped:
        raise CheckpointError(f"not all of the encoder: {report.sentence()}")
