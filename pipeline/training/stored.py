"""What stored features decide of a training: the encoder, its options, its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask.models.backbones import find_backbone
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.features.frozen import KEPT, MODEL, rebuilt
from unmask.pipeline.features.settings import FeatureSettings, read_index
from unmask.pipeline.features.store import find_key
from unmask.pipeline.manifests.text import parse
from unmask.pipeline.records import Entry


def with_features(config: TrainConfig) -> TrainConfig:
    """The configuration with what the stored features decide: their key, the encoder's options, and
    that nothing of it learns.

    Raises UsageError for what a head on stored features cannot do and for options of another
    encoder, ModelError for an unknown backbone, CacheError for a damaged store.
    """
    if config.model != MODEL:
        raise UsageError(f"--features are of the model {MODEL}, not of {config.model}")
    if config.devices > 1 or config.accumulate > 1 or config.ema or config.compile:
        raise UsageError(
            "a head on --features trains in one process in seconds; leave out --devices, "
            "--accumulate, --ema and --compile"
        )
    if config.pretrained or config.init:
        raise UsageError("--features name their encoder's weights; leave out --pretrained, --init")
    entries = _entries(config)
    key = find_key(Path(config.store), entries, config.features)
    settings = _settings(config, entries, key)
    decided = {name: getattr(settings, name) for name in KEPT} | {
        "tune": "none",
        "thumbnail": "none",
    }
    for name, value in config.options.items():
        same = find_backbone(str(value)).source if name == "backbone" else value
        if name in decided and same != decided[name]:
            raise UsageError(f"--option {name}={value}: the features have {name}={decided[name]}")
    options = {**config.options, **decided}
    recipe = config.recipe or "probe"
    return replace(config, features=key, options=options, recipe=recipe, from_scratch=True)


def take_encoder(network: Any, config: TrainConfig) -> None:
    """Put the weights that the features came from into the network. Raises CheckpointError where
    they are not to be had any more, CacheError.
    """
    settings = _settings(config, _entries(config), config.features)
    network.encoder.load_state_dict(rebuilt(settings).model.encoder.state_dict())


def _entries(config: TrainConfig) -> tuple[Entry, ...]:
    """Raises UsageError for what is no text manifest, ManifestError for bad lines."""
    path = Path(config.manifest)
    if path.suffix == ".h5":
        raise UsageError(f"{path}: features lie beside a cache; name a manifest of its crops")
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def _settings(config: TrainConfig, entries: tuple[Entry, ...], key: str) -> FeatureSettings:
    return read_index(Path(config.store) / Path(entries[0].folder).parent / key)[0]
