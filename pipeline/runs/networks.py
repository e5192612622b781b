"""The network a training configuration asks for, with the weights it starts from."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from unmask.models import create_model, resolve_options
from unmask.models.recipes.recipes import get_recipe, list_recipes, recipe_options
from unmask.models.weights import load_pretrained, load_tensors
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.runs import checkpoint

log = logging.getLogger(__name__)


def resolve(config: TrainConfig) -> TrainConfig:
    """The same with every option of the model, the recipe's name and where its weights come from
    written out.

    Raises: ModelError for unknown names and values, UsageError for two answers to one question.
    """
    name = config.recipe or list_recipes(config.model)[0]
    recipe = get_recipe(config.model, name, config.overrides)
    if config.from_scratch and config.pretrained:
        raise UsageError("--from-scratch and --pretrained exclude each other; leave one out")
    begins_with_imagenet = recipe.pretrained and not config.from_scratch and not config.init
    pretrained = config.pretrained or begins_with_imagenet
    options = {**recipe_options(config.model, name), **config.options}
    options = resolve_options(config.model, options, pretrained=pretrained)
    return replace(config, options=options, recipe=name, pretrained=pretrained)


def build_network(config: TrainConfig, *, restored: bool = False) -> nn.Module:
    """The model with fresh, ImageNet or given weights.

    restored: a checkpoint's weights follow, so that none need be fetched.
    Raises: ModelError, CheckpointError.
    """
    network = create_model(config.model, **config.options)
    if restored:
        return network
    if config.pretrained:
        for report in load_pretrained(network):
            log.info("%s", report.sentence())
    if config.init:
        tensors = checkpoint.read_weights(Path(config.init), trust=config.trust_checkpoint)
        log.info("%s", load_tensors(network, tensors, config.init).sentence())
    return network


def refuse_frozen_noise(network: nn.Module, config: TrainConfig) -> None:
    """A network of which parts never learn must know something to begin with.

    Raises: UsageError where those parts are random and nobody said --from-scratch.
    """
    if config.pretrained or config.init or config.from_scratch:
        return
    parts = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    if parts:
        raise UsageError(
            f"{len(parts)} of this network's weights do not learn with these options, and they "
            "would be random: begin with a trained network (--init FILE) or with published "
            "weights (--pretrained); --from-scratch trains the rest all the same"
        )
