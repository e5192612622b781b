"""How one model is trained, as data: optimizer, schedule, batch, loss, augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unmask.models.recipes.blends import BlendSpec
from unmask.models.recipes.losses import LossSpec


@dataclass(frozen=True)
class Recipe:
    """How one model is trained; epochs of warm-up and of `steps` may be fractions.

    source: where the values come from.
    lr: the base that `schedule` scales.
    eps: of Adam, 0 for the optimizer's own.
    momentum: of SGD, also inside sam: Foret et al. 2021, arXiv 2010.01412, which steps with the
        gradient taken at the worst point within rho.
    rho: of sam.
    weight_decay: torch's, on all parameters but those that a model lists as `no_decay`.
    l2: (name pattern of parameters, L2 penalty): lambda * |w|^2 added to the loss, on those
        parameters only, beside weight_decay.
    schedule: constant, cosine (to `floor` * lr over `epochs`) or steps.
    anneal: cosine moves at every step, or once an epoch.
    cycles: cosine falls so many times, starting again at lr (Loshchilov and Hutter, ICLR 2017,
        arXiv 1608.03983, equation 5, of equal length).
    steps: (epoch from which on, factor of lr) of the schedule steps.
    warmup: epochs of linear rise.
    batch: samples in a step over all processes.
    all_clips: an epoch shows every cached clip of every video (of a model on single pictures every
        cached frame), not one of each video.
    augment: names of pipeline/clips/augment.py, in order.
    balance: how batches are filled; self reads the reals only, each beside a fake made of it.
    blend: how that fake is made.
    val_fakes: with balance self, what validation tells apart: fakes made of the validation reals,
        or the genuine ones of its manifest.
    class_weights: balanced weighs the loss by class frequency.
    clip: largest gradient norm, 0 for any.
    pretrained: starts from ImageNet weights.
    trained: name patterns of the parameters that learn, () for all; the rest is frozen.
    """

    source: str
    optimizer: Literal["adam", "adamw", "sgd", "sam"] = "adam"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 0.0
    momentum: float = 0.9
    rho: float = 0.05
    weight_decay: float = 0.0
    l2: tuple[tuple[str, float], ...] = ()
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    anneal: Literal["step", "epoch"] = "step"
    steps: tuple[tuple[float, float], ...] = ()
    floor: float = 0.0
    cycles: int = 1
    warmup: float = 0.0
    epochs: int = 30
    batch: int = 16
    all_clips: bool = False
    loss: LossSpec = field(default_factory=LossSpec)
    augment: tuple[str, ...] = ()
    balance: Literal["balanced", "paired", "none", "self"] = "balanced"
    blend: BlendSpec = field(default_factory=BlendSpec)
    val_fakes: Literal["self", "manifest"] = "self"
    class_weights: Literal["none", "balanced"] = "none"
    clip: float = 0.0
    pretrained: bool = False
    trained: tuple[str, ...] = ()
