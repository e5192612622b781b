"""What a training is made of, built once: recipe, network, clips, optimizer."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unmask.models import model_class
from unmask.models.options import option_types
from unmask.models.recipes.blends import BLEND_VERSION
from unmask.models.recipes.losses import balanced_weights
from unmask.models.recipes.optimizers import build_optimizer, freeze
from unmask.models.recipes.recipe import Recipe
from unmask.models.recipes.recipes import as_values, get_recipe
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.augment import build_augment, only_moves
from unmask.pipeline.clips.hdf5 import Export
from unmask.pipeline.clips.plans import share, training_plan
from unmask.pipeline.clips.prepare import Augment
from unmask.pipeline.clips.readers import all_fakes_have_masks, find_videos
from unmask.pipeline.clips.real_only import RealOnly
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.clips.stored_bands import BandsFrom
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.memory import keep_freed_memory
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.networks import build_network, refuse_frozen_noise, resolve
from unmask.pipeline.training.fabric import Fabric, Outputs, device_facts
from unmask.pipeline.training.stored import take_encoder, with_features

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """Everything that stays the same from a run's first step to its last, but the tensors inside.

    config: with every option of the model and what was decided here written out.
    network: the detector itself, whose names the checkpoints use.
    frozen: its parts that learn nothing and stay in eval mode.
    notes: what was decided for the user, a line each.
    model: the same as the device's wrappers (several processes, compilation) call it.
    spec: what the network eats, with masks where the loss wants them.
    class_weight: (2,) on the device, None where every sample counts the same.
    optimizer: the recipe's; stepper: the same as the device's wrapper steps it.
    ema: averaged weights, None without.
    per_epoch: steps of an epoch; steps: of the whole run.
    scaled: float16 with a loss scale, which skips steps by itself.
    """

    config: TrainConfig
    fabric: Fabric
    recipe: Recipe
    spec: ClipSpec
    source: ClipSource
    validation: ClipSource | None
    augment: Augment | None
    class_weight: Tensor | None
    network: nn.Module
    frozen: tuple[nn.Module, ...]
    notes: tuple[str, ...]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    stepper: Any
    ema: AveragedModel | None
    per_epoch: int
    steps: int
    scaled: bool

    def plan(self, epoch: int) -> list[list[Sample]]:
        """The global batches of one epoch, the same in every process."""
        return _plan(self.config, self.recipe, self.spec, self.source, epoch)

    @property
    def scored(self) -> nn.Module:
        """The network that validation asks: the averaged weights where there are such."""
        return self.network if self.ema is None else self.ema.module


def build_setup(config: TrainConfig, fabric: Fabric, *, restored: bool = False) -> Setup:
    """Read the manifests, build the network and the optimizer, and try the first epoch's plan.

    The network, the augmentation and dropout depend on config.seed alone.
    restored: a checkpoint's weights follow, so that none need be fetched.
    Raises: UsageError, ModelError, ManifestError, CacheError, CheckpointError.
    """
    # Before the network, which may take half a minute: a wrong path must fail at once.
    if config.features:
        config = with_features(config)
    asked = get_recipe(config.model, config.recipe, config.overrides)
    real_only = asked.balance == "self"
    if config.features and (real_only or asked.loss.seg or any(asked.augment)):
        raise UsageError(
            "stored features have no pixels to change or to blend: take the recipe probe, or "
            "--set augment= "
        )
    videos = find_videos(
        Path(config.manifest), Path(config.cache), config.allow_missing, reals_only=real_only
    )
    config, notes = _with_masks_where_there_are(config, asked, videos)
    config = resolve(config)
    recipe = get_recipe(config.model, config.recipe, config.overrides)
    keep_freed_memory(fabric.device.type)
    torch.manual_seed(config.seed)
    network = build_network(config, restored=restored)
    if config.features and not restored:
        take_encoder(network, config)
    frozen = freeze(network, recipe)
    if not restored:
        refuse_frozen_noise(network, config)
    soft = real_only and recipe.blend.mask != "hard"
    spec = replace(network.spec, masks=recipe.loss.seg > 0, soft_masks=soft)
    if spec.masks and not network.spec.masks:
        raise UsageError(
            "the recipe's loss wants masks and the model makes none: --option mask=true (and a "
            "cache extracted with --masks), or --set loss.seg=0"
        )
    if real_only:
        _refuse_cached_bands(config, "a pasted face changes the pixels")
        source: ClipSource = RealOnly(videos, Path(config.cache), spec, recipe.blend)
    else:
        source = ClipSource(videos, Path(config.cache), spec, bands=_bands_from(config, recipe))
    validation = _open_validation(config, recipe, source)
    augment = build_augment(recipe.augment, spec.size)
    class_weight = None
    if recipe.class_weights == "balanced":
        class_weight = balanced_weights(torch.from_numpy(source.labels)).to(fabric.device)
    first_epoch = _plan(config, recipe, spec, source, 0)
    for batch in first_epoch:
        # Every epoch has batches of these sizes: refuse now what would fail later.
        share(batch, fabric.global_rank, fabric.world_size, config.accumulate, together(recipe))
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    if config.sync_norm and fabric.world_size > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    module: nn.Module = Outputs(network)
    optimizer = build_optimizer(network, recipe)
    model, stepper = fabric.setup(torch.compile(module) if config.compile else module, optimizer)
    return Setup(
        config=config,
        fabric=fabric,
        recipe=recipe,
        spec=spec,
        source=source,
        validation=validation,
        augment=augment,
        class_weight=class_weight,
        network=network,
        frozen=tuple(frozen),
        notes=notes,
        model=model,
        optimizer=optimizer,
        stepper=stepper,
        ema=_averaged(network, config.ema) if config.ema else None,
        per_epoch=len(first_epoch),
        steps=config.steps or recipe.epochs * len(first_epoch),
        scaled=str(fabric.strategy.precision.precision) == "16-mixed",
    )


def _bands_from(config: TrainConfig, recipe: Recipe) -> BandsFrom:
    """Cached bands are of the cached pixels: an augmentation that changes them rules those out.

    Raises UsageError where they are asked for all the same.
    """
    if only_moves(recipe.augment):
        return config.bands
    _refuse_cached_bands(
        config,
        f"the augmentation {', '.join(recipe.augment)} changes the pixels (--set augment=flip "
        "does not)",
    )
    return "computed"


def _refuse_cached_bands(config: TrainConfig, why: str) -> None:
    """Raises UsageError where the cache's bands were asked for."""
    if config.bands == "cached":
        raise UsageError(f"--bands cached: {why} that the cached bands are of; leave out --bands")


def together(recipe: Recipe) -> int:
    """Neighbours in a batch that one process and one micro-batch must get."""
    return 2 if recipe.balance == "self" else 1


def identity(setup: Setup) -> dict[str, Any]:
    """Everything that decides the weights; a checkpoint of another identity is refused."""
    names = ("model", "options", "seed", "all_clips", "accumulate", "ema")
    values = {name: getattr(setup.config, name) for name in names}
    idle = {"epochs", "source"}
    idle |= set() if setup.recipe.balance == "self" else {"blend", "val_fakes"}
    idle |= set() if setup.recipe.optimizer == "sam" else {"rho"}
    # Values that came later say nothing while they change nothing, so that older runs go on.
    idle |= set() if setup.recipe.cycles != 1 else {"cycles"}
    values_of_recipe = as_values(setup.recipe)
    for name in ("uni", "ali"):
        if not values_of_recipe["loss"][name]:
            del values_of_recipe["loss"][name]
    recipe = {
        f"recipe.{name}": value for name, value in values_of_recipe.items() if name not in idle
    }
    made = {"blend_version": BLEND_VERSION} if setup.recipe.balance == "self" else {}
    pixels = {"key": setup.source.key, "manifest": setup.source.sha256}
    # float16 rounds the stored coefficients, so weights differ by where the bands come from.
    bands = {"bands": "cached"} if setup.source.stored_bands else {}
    stored = {"features": setup.config.features} if setup.config.features else {}
    return json.loads(json.dumps({**values, **recipe, **made, **pixels, **bands, **stored}))


def facts(setup: Setup) -> dict[str, Any]:
    """What run.json says beside the configuration."""
    sources = {"manifest": setup.source}
    if setup.validation is not None:
        sources["val"] = setup.validation
    real_only = setup.source.fakes == "self"
    return {
        "fakes": setup.source.fakes,
        **({"val_fakes": setup.recipe.val_fakes} if real_only else {}),
        "recipe": as_values(setup.recipe),
        "model": {
            "name": setup.config.model,
            "options": setup.config.options,
            "parameters": parameter_count(setup),
            "spec": asdict(setup.spec),
        },
        "steps": setup.steps,
        "device": device_facts(setup.fabric),
        **{name: source.facts() for name, source in sources.items()},
    }


def parameter_count(setup: Setup) -> int:
    """Trainable and frozen numbers of the network, without running statistics."""
    return sum(parameter.numel() for parameter in setup.network.parameters())


def _plan(
    config: TrainConfig, recipe: Recipe, spec: ClipSpec, source: ClipSource, epoch: int
) -> list[list[Sample]]:
    return training_plan(
        spec,
        source.labels,
        source.pairs,
        source.shapes,
        batch=recipe.batch,
        seed=config.seed,
        epoch=epoch,
        balance=recipe.balance,
        all_clips=config.all_clips or recipe.all_clips,
        truth=source.truth,
    )


def _with_masks_where_there_are(
    config: TrainConfig, recipe: Recipe, videos: Manifest | Export
) -> tuple[TrainConfig, tuple[str, ...]]:
    """Settle a loss with masks that nobody asked for by name: with the model's mask head where all
    fakes have masks in the cache, as self-made ones always do, else without that term; and a line
    for the user.
    """
    asked = "mask" in config.options or {"loss", "loss.seg"} & set(config.overrides)
    if not recipe.loss.seg or asked or "mask" not in option_types(model_class(config.model)):
        return config, ()
    if recipe.balance == "self" or all_fakes_have_masks(videos):
        return replace(config, options={**config.options, "mask": True}), ()
    without = replace(config, overrides={**config.overrides, "loss.seg": 0.0})
    return without, (
        f"the cache has no masks for all fakes, so the loss goes without its term of weight "
        f"{recipe.loss.seg:g} on them (extract with --masks to have it)",
    )


def _open_validation(
    config: TrainConfig, recipe: Recipe, training: ClipSource
) -> ClipSource | None:
    if not config.val:
        log.warning("no validation manifest: the last weights will count as the best")
        return None
    spec = replace(training.spec, masks=False)
    cache = Path(config.cache)
    source: ClipSource
    if training.fakes == "self" and recipe.val_fakes == "self":
        allow = config.allow_missing
        source = RealOnly(Path(config.val), cache, spec, recipe.blend, allow_missing=allow)
    else:
        source = ClipSource(
            Path(config.val), cache, spec, allow_missing=config.allow_missing, bands=config.bands
        )
    checkpoint.belongs({"key": source.key}, {"key": training.key}, source.path)
    return source


def _averaged(network: nn.Module, decay: float) -> AveragedModel:
    averaging = get_ema_multi_avg_fn(decay)
    return AveragedModel(network, multi_avg_fn=averaging, use_buffers=True)
