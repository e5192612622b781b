"""The network a training configuration asks for, with the weights it starts from."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from unmask.models import create_model, resolve_options
from unmask.models.recipes.recipes import list_recipes
from unmask.models.weights import load_pretrained, load_tensors
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.runs import checkpoint

log = logging.getLogger(__name__)


def resolve(config: TrainConfig) -> TrainConfig:
    """The same with every option of the model and the recipe's name written out. Raises
    ModelError.
    """
    options = resolve_options(config.model, config.options, pretrained=config.pretrained)
    return replace(config, options=options, recipe=config.recipe or list_recipes(config.model)[0])


def build_network(config: TrainConfig) -> nn.Module:
    """The model with fresh, ImageNet or given weights. Raises ModelError, CheckpointError."""
    network = create_model(config.model, **config.options)
    if config.pretrained:
        for report in load_pretrained(network):
            log.info("%s", report.sentence())
    if config.init:
        tensors = checkpoint.read_weights(Path(config.init), trust=config.trust_checkpoint)
        log.info("%s", load_tensors(network, tensors, config.init).sentence())
    return network
