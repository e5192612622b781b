"""A recipe's numbers at work: parameter groups with their penalties, the optimizer, the learning
rate over time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from unmask.models.options import ModelError
from unmask.models.recipes.recipe import Recipe


def freeze(model: nn.Module, recipe: Recipe) -> list[nn.Module]:
    """Let only the parameters of `recipe.trained` learn; returns the parts that learn nothing.

    These are to stay in eval mode during training, so that their running statistics, dropout and
    stochastic depth are those of evaluation. Raises ModelError for a pattern that names no
    parameter.
    """
    if not recipe.trained:
        return []
    _refuse_unknown(model, "trained", recipe.trained)
    for name, parameter in model.named_parameters():
        learns = any(fnmatchcase(name, pattern) for pattern in recipe.trained)
        parameter.requires_grad_(learns)
    return [
        module
        for module in model.modules()
        if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
    ]


def _refuse_unknown(model: nn.Module, field: str, patterns: Iterable[str]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"recipe: {field} pattern '{pattern}' names no parameter of this model, such as "
                f"'{names[0]}'"
            )


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups for the optimizer, at most one per penalty: {"params", "weight_decay"}.

    A penalty lambda * |w|^2 has gradient 2 lambda w, so in Adam and SGD, which add weight_decay * w
    to the gradient, it is a weight decay of 2 lambda. Raises ModelError for AdamW with `l2`, whose
    decay is no penalty, and for a pattern that names no parameter.
    What a model lists as `no_decay` has its penalties only.
    """
    if recipe.l2 and recipe.optimizer == "adamw":
        raise ModelError(
            "recipe: l2 is a penalty of the loss, adamw's decay is not one; take adam, or l2="
        )
    _refuse_unknown(model, "l2", [pattern for pattern, _ in recipe.l2])
    undecayed = getattr(model, "no_decay", frozenset())
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            penalty = sum(strength for pattern, strength in recipe.l2 if fnmatchcase(name, pattern))
            decay = 0.0 if name in undecayed else recipe.weight_decay
            groups.setdefault(decay + 2 * penalty, []).append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over `parameter_groups`, at the base learning rate; of sam the SGD
    that steps at last (`climb` is its other half).
    """
    groups = parameter_groups(model, recipe)
    if recipe.optimizer in ("sgd", "sam"):
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    eps = {"eps": recipe.eps} if recipe.eps else {}
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(groups, lr=recipe.lr, betas=recipe.betas, **eps)


@torch.no_grad()
def climb(parameters: Iterable[nn.Parameter], rho: float) -> list[tuple[Tensor, Tensor]] | None:
    """Move the parameters to the worst point near them, w + rho g / |g|, |g| over all of them
    together (Foret et al. 2021, equation 2), and forget their gradients.

    Returns each parameter with the values to go back to, or None, and moves nothing, where the
    gradient is not finite. A scaled gradient gives the same point.
    """
    moving = [parameter for parameter in parameters if parameter.grad is not None]
    norms = [torch.linalg.vector_norm(parameter.grad.float()) for parameter in moving]
    norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(math.nan)
    if not torch.isfinite(norm):
        return None
    before = [(parameter, parameter.detach().clone()) for parameter in moving]
    for parameter in moving:
        parameter.add_(parameter.grad, alpha=rho / (float(norm) + 1e-12))
        parameter.grad = None
    return before


@torch.no_grad()
def go_back(before: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Give parameters the values, to the bit, that they had before `climb`."""
    for parameter, values in before:
        parameter.copy_(values)


def learning_rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """Learning rate of a step (from 0); per_epoch: steps of an epoch.

    Warm-up and cosine follow the steps and are asked at the end of one; the schedule `steps`, and
    cosine with anneal "epoch", change between epochs.
    """
    finished = (step + 1) / per_epoch
    whole = step // per_epoch
    by_epoch = recipe.schedule == "steps" or recipe.anneal == "epoch"
    if finished < recipe.warmup or not by_epoch:
        return recipe.lr * lr_factor(recipe, finished)
    return recipe.lr * lr_factor(recipe, max(whole, recipe.warmup))


def lr_factor(recipe: Recipe, epoch: float) -> float:
    """Learning rate over its base at a (fractional) epoch; warm-up rises linearly from 0 to 1 and
    then the schedule goes on as if it had run from the start.
    """
    if epoch < recipe.warmup:
        return epoch / recipe.warmup
    if recipe.schedule == "steps":
        return next(
            (factor for start, factor in sorted(recipe.steps, reverse=True) if epoch >= start), 1.0
        )
    if recipe.schedule == "cosine":
        share = _share_of_cycle(recipe, min(epoch / recipe.epochs, 1.0))
        return recipe.floor + (1 - recipe.floor) * (1 + math.cos(math.pi * share)) / 2
    return 1.0


def _share_of_cycle(recipe: Recipe, share: float) -> float:
    """How far into its cycle of cosine a run is that has walked this share of its epochs; the end
    of a cycle belongs to it where the rate is asked at the end of a step.
    """
    place = share * max(recipe.cycles, 1)
    turn = math.floor(place) if recipe.anneal == "epoch" else math.ceil(place) - 1
    return place - min(max(turn, 0), max(recipe.cycles, 1) - 1)
