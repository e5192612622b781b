"""The training loop: clips in, a run folder out. Devices, processes and precision come from Lightning Fabric.

Resume is exact because nothing needs to be remembered but tensors and a position: the plan of an epoch is a function
of (seed, epoch), each sample carries its own random numbers, the network's dropout is seeded anew at every step from
(seed, step, process), and the learning rate is a function of the step. No line of metrics.jsonl holds a clock.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models import ModelError
from models.losses import balanced_weights, total_loss
from models.optimizers import build_optimizer, lr_factor
from models.recipes import as_values, get_recipe
from pipeline import checkpoint
from pipeline.augment import build_augment
from pipeline.clips import Augment, ClipSource, RawBatch, find_videos, prepare
from pipeline.config import TrainConfig
from pipeline.curves import Clock, Curves
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.errors import EXIT_OK, EXIT_TERMINATED, CheckpointError, TrainError, UsageError
from pipeline.interrupts import Interrupts
from pipeline.networks import build_network, resolve
from pipeline.progress import Live, Progress, Result
from pipeline.runs import new_run, rank, write_run
from pipeline.samplers import Sample, share, training_plan
from pipeline.validation import score_sums, video_metrics

log = logging.getLogger(__name__)

KEEP = 2


class Outputs(nn.Module):
    """The network seen through `outputs`, because wrappers (several processes, compilation) only know `forward`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor, bands: Tensor | None) -> dict[str, Tensor]:
        return self.network.outputs(clip, bands)


class Training:
    """One run from its first to its last step. `run_to_end` is the loop; the rest is what it says."""

    def __init__(self, config: TrainConfig, fabric: Fabric, report: Callable[[Live], None] | None) -> None:
        self.config, self.fabric, self.report = config, fabric, report
        self.recipe = get_recipe(config.model, config.recipe, config.overrides)
        # before the network, which may take half a minute: a wrong manifest is told at once
        videos = find_videos(Path(config.manifest), Path(config.cache), config.allow_missing)
        keep_freed_memory(fabric.device.type)
        torch.manual_seed(config.seed)
        self.network = build_network(config)
        self.spec = replace(self.network.spec, masks=self.recipe.loss.seg > 0)
        if self.spec.masks and not self.network.spec.masks:
            raise UsageError(
                "the recipe's loss wants masks and the model makes none: --option mask=true (and a cache extracted "
                "with --masks), or --set loss.seg=0"
            )
        self.source = ClipSource(videos, Path(config.cache), self.spec)
        self.validation = self._open_validation()
        self.augment: Augment | None = build_augment(self.recipe.augment, self.spec.size)
        weights = balanced_weights(torch.from_numpy(self.source.labels))
        self.class_weight = weights.to(fabric.device) if self.recipe.class_weights == "balanced" else None
        self.progress = Progress()
        plan = self.plan(0)
        for batch in plan:  # every epoch has batches of these sizes: refuse now what would fail later
            share(batch, fabric.global_rank, fabric.world_size, config.accumulate)
        self.per_epoch = len(plan)
        self.steps = config.steps or self.recipe.epochs * self.per_epoch
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if config.sync_norm and fabric.world_size > 1:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.scaled = str(fabric.strategy.precision.precision) == "16-mixed"
        module: nn.Module = Outputs(self.network)
        self.raw_optimizer = build_optimizer(self.network, self.recipe)
        self.model, self.optimizer = fabric.setup(
            torch.compile(module) if config.compile else module, self.raw_optimizer
        )
        averaging = get_ema_multi_avg_fn(config.ema)
        self.ema = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True) if config.ema else None

    def _open_validation(self) -> ClipSource | None:
        if not self.config.val:
            log.warning("no validation manifest: the last weights will count as the best")
            return None
        spec = replace(self.spec, masks=False)
        source = ClipSource(
            Path(self.config.val), Path(self.config.cache), spec, allow_missing=self.config.allow_missing
        )
        checkpoint.belongs({"key": source.key}, {"key": self.source.key}, source.path)
        return source

    def plan(self, epoch: int) -> list[list[Sample]]:
        """The global batches of one epoch, the same in every process."""
        return training_plan(
            self.spec,
            self.source.labels,
            self.source.pairs,
            self.source.shapes,
            batch=self.recipe.batch,
            seed=self.config.seed,
            epoch=epoch,
            balance=self.recipe.balance,
            all_clips=self.config.all_clips,
            truth=self.source.truth,
        )

    def run_to_end(self, run: Path, stop: Interrupts) -> int:
        """Epoch after epoch until the last step, the patience or a signal; returns the exit code."""
        first, at = self.fabric.is_global_zero, self.progress
        with Curves(run, at.log_bytes, at.step, write=first, tensorboard=self.config.tensorboard) as curves:
            self.run, self.stop, self.curves = run, stop, curves
            # batch > 0: stopped inside an epoch, perhaps after its last step and before its validation
            while at.batch or (at.epoch < self.recipe.epochs and at.step < self.steps and not self._tired()):
                if not self._epoch() or not self._close_epoch():
                    self._save()
                    return stop.exit_code or EXIT_TERMINATED  # the signal may have reached another process only
        return EXIT_OK

    def _tired(self) -> bool:
        """Whether validation has not become better for `patience` epochs."""
        patience = self.config.patience
        return bool(patience) and self.progress.epoch - self.progress.best_epoch >= patience

    def _epoch(self) -> bool:
        """The rest of the current epoch's steps; False when a signal asked to stop."""
        progress, plan = self.progress, self.plan(self.progress.epoch)
        todo = plan[progress.batch :][: self.steps - progress.step]
        parts = [
            share(batch, self.fabric.global_rank, self.fabric.world_size, self.config.accumulate) for batch in todo
        ]
        batches = self.source.batches(
            [part for of_batch in parts for part in of_batch],
            threads=self.config.threads,
            pin=self.fabric.device.type == "cuda",
        )
        clock = Clock()
        for batch in todo:
            if self._step(batch, batches, clock):
                return False
            if self.config.checkpoint_steps and progress.step % self.config.checkpoint_steps == 0:
                self._save()
        self.curves.speed(progress.epoch, progress.step, clock)
        return True

    def _step(self, batch: list[Sample], batches: Iterator[RawBatch], clock: Clock) -> bool:
        """One optimizer step on one global batch; True when a signal asked any process to stop."""
        fabric, progress = self.fabric, self.progress
        rate = self.recipe.lr * lr_factor(self.recipe, (progress.step + 1) / self.per_epoch)
        for group in self.raw_optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(zlib.crc32(f"{self.config.seed}/{progress.step}/{fabric.global_rank}".encode()))
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(2, device=fabric.device, dtype=torch.float64)
        for part in range(self.config.accumulate):
            with clock.waiting():
                raw = next(batches)
            data = prepare(raw, self.spec, fabric.device, self.augment)
            with fabric.no_backward_sync(self.model, enabled=part < self.config.accumulate - 1):
                outputs = self.model(data.pixels, data.bands)
                loss = total_loss(self.recipe.loss, outputs, data.label, data.masks, self.class_weight)["loss"]
                # Means over parts of unequal size add up to the mean over the global batch.
                fabric.backward(loss * (len(raw.samples) * fabric.world_size / len(batch)))
            total[0] += loss.detach() * (len(raw.samples) / len(batch))
        norm = fabric.clip_gradients(
            self.model, self.optimizer, max_norm=self.recipe.clip or math.inf, error_if_nonfinite=False
        )
        total[1] = float(self.stop.asked)
        loss_value, asked = fabric.all_reduce(total, reduce_op="sum").tolist()
        # With float16 the loss scale overflows now and then; the scaler itself skips such a step.
        finite = math.isfinite(loss_value) and (math.isfinite(norm) or self.scaled)
        if finite:
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update_parameters(self.network)
        else:
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)
        clock.clips, clock.steps = clock.clips + len(batch), clock.steps + 1
        self._count(batch, loss_value if finite else None, rate)
        self._tell(clock, loss_value)
        return asked > 0

    def _tell(self, clock: Clock, loss: float | None) -> None:
        if self.report is None or not self.fabric.is_global_zero:
            return
        at = self.progress
        left = clock.seconds / max(1, clock.steps) * (self.steps - at.step)
        self.report(Live(at.step, self.steps, at.epoch, loss, at.auc, clock.rate, clock.wait, left))

    def _count(self, batch: list[Sample], loss: float | None, rate: float) -> None:
        """Move on by one step and write its line; too many lost steps in a row end the run."""
        progress = self.progress
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        order = zlib.crc32(repr([(sample.video, sample.picks, sample.seed) for sample in batch]).encode())
        self.curves.step(progress.epoch, progress.step, loss, rate, len(batch), order)
        if loss is not None:
            progress.row = 0
            return
        progress.skipped, progress.row = progress.skipped + 1, progress.row + 1
        names = ", ".join(self.source.entries[sample.video].folder for sample in batch[:20])
        log.warning("step %d skipped: loss or gradient is not finite; its videos: %s", progress.step, names)
        if progress.row >= self.config.nan_limit:
            progress.row = 0
            where = self._save()
            raise TrainError(
                f"no finite loss in {self.config.nan_limit} steps in a row, the last on {names}; the weights before "
                f"them are in {where}; take a smaller lr (--set lr=...), or --precision 32-true"
            )

    def _close_epoch(self) -> bool:
        """Validate, keep what is best, save; False when a signal came meanwhile (validation is then done again)."""
        progress = self.progress
        found = self._validate()
        if found is None:
            return False
        progress.epoch, progress.batch = progress.epoch + 1, 0
        better = self.validation is None or rank(*found) > rank(progress.auc, progress.log_loss)
        self.curves.validation(progress.epoch, progress.step, *found, better)
        if better:
            (progress.auc, progress.log_loss), progress.best_epoch = found, progress.epoch
            self._save(best=True)
        self._save()
        return True

    def _validate(self) -> tuple[float | None, float | None] | None:
        """Video AUC and log-loss of the validation manifest, None where undefined; None at all when stopped."""
        if self.validation is None:
            return None, None
        network, fabric = (self.network if self.ema is None else self.ema.module), self.fabric
        sums = score_sums(
            network,
            self.validation,
            fabric,
            batch=self.recipe.batch,
            per_video=self.config.val_clips,
            threads=self.config.threads,
            stopped=lambda: self.stop.asked and fabric.world_size == 1,
        )
        return None if sums is None else video_metrics(self.validation, fabric.all_reduce(sums, reduce_op="sum"))

    def identity(self) -> dict[str, Any]:
        """Everything that decides the weights; a checkpoint of another identity is refused."""
        config = self.config
        recipe = {name: value for name, value in as_values(self.recipe).items() if name not in ("epochs", "source")}
        names = ("model", "options", "seed", "all_clips", "accumulate", "ema")
        values = {name: getattr(config, name) for name in names} | {f"recipe.{n}": v for n, v in recipe.items()}
        pixels = {"key": self.source.key, "manifest": self.source.sha256}
        return json.loads(json.dumps(values | pixels))

    def _save(self, best: bool = False) -> Path:
        """Write a checkpoint from the first process while the others wait."""
        name = f"{'best' if best else 'step'}-{self.progress.step:08d}"
        if self.fabric.is_global_zero:
            self.progress.log_bytes = self.curves.flush()
            tensors, rest = checkpoint.split_optimizer(self.raw_optimizer.state_dict())
            state = {"identity": self.identity(), "progress": asdict(self.progress), "optimizer": rest}
            state["scaler"] = self.fabric.strategy.precision.state_dict()
            parts = {"model": self.network.state_dict(), "optimizer": None if best else tensors}
            parts["ema"] = None if self.ema is None else self.ema.module.state_dict()
            checkpoint.save(self.run, name, state, parts, keep=1 if best else KEEP)
        self.fabric.barrier()
        return self.run / checkpoint.FOLDER / name

    def restore(self, run: Path) -> None:
        """Go back to the newest whole checkpoint of a run; without one the run starts again from its seed.

        Raises CheckpointError for other settings, other pixels, or when every checkpoint is damaged.
        """
        if not checkpoint.saved(run):
            if self.fabric.is_global_zero:
                checkpoint.forget_after(run, 0)
            log.info("%s has no checkpoint yet; it starts from the beginning", run)
            return
        point = checkpoint.newest(run)
        checkpoint.belongs(point.state.get("identity", {}), self.identity(), point.folder)
        checkpoint.load_into(self.network, point.model, point.folder)
        if self.ema is not None:
            checkpoint.load_into(self.ema.module, point.ema or {}, point.folder)
        checkpoint.load_optimizer(self.raw_optimizer, point)
        try:
            self.progress = Progress(**point.state["progress"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{point.folder}: its progress cannot be read ({error})") from error
        if self.ema is not None:
            self.ema.n_averaged.fill_(self.progress.step - self.progress.skipped)
        self.fabric.strategy.precision.load_state_dict(point.state.get("scaler", {}))
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            checkpoint.forget_after(run, self.progress.step)

    def facts(self) -> dict[str, Any]:
        """What run.json says beside the configuration."""
        sources = {"manifest": self.source} | ({"val": self.validation} if self.validation else {})
        return {
            "recipe": as_values(self.recipe),
            "model": {
                "name": self.config.model,
                "options": self.config.options,
                "parameters": sum(p.numel() for p in self.network.parameters()),
                "spec": asdict(self.spec),
            },
            "steps": self.steps,
            "device": device_facts(self.fabric),
            **{name: source.facts() for name, source in sources.items()},
        }


def build_fabric(config: TrainConfig) -> Fabric:
    """Device, precision and processes. Several processes: `devices`, or what torchrun has started.

    float32 on a CPU; on a GPU bf16 where it has it, else float16 with a loss scale. Raises UsageError without the GPU
    that was asked for.
    """
    device = choose_device(config.device)
    precision = config.precision
    if precision == "auto":
        mixed = "bf16-mixed" if device == "cuda" and torch.cuda.is_bf16_supported() else "16-mixed"
        precision = mixed if device == "cuda" else "32-true"
    local = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    nodes = max(1, int(os.environ.get("WORLD_SIZE", local)) // local) if "LOCAL_WORLD_SIZE" in os.environ else 1
    # Recipes without the mask loss leave M2TR's decoder without a gradient.
    strategy = "ddp_find_unused_parameters_true" if local * nodes > 1 else "auto"
    return Fabric(accelerator=device, devices=local, num_nodes=nodes, strategy=strategy, precision=precision)


def train(
    config: TrainConfig,
    runs: Path = Path("runs"),
    *,
    run: Path | None = None,
    resume: bool = False,
    expected: dict[str, str] | None = None,
    report: Callable[[Live], None] | None = None,
    started: Callable[[Training], None] | None = None,
) -> Result:
    """Train one model and return where it lies and how it ended.

    run: its folder; None makes the next one under `runs`.   resume: go on from its newest checkpoint.   expected:
    sha256 by `manifest` or `val`, as another run's run.json has them.   report: called after every step.
    Raises UsageError, ManifestError, CacheError, CheckpointError before the first step; TrainError on lost steps.
    """
    fabric = build_fabric(config)
    fabric.launch()
    try:
        config = resolve(config)
        training = Training(config, fabric, report)
    except ModelError as error:
        raise UsageError(str(error)) from error
    found = {"manifest": training.source.sha256, "val": training.validation.sha256 if training.validation else ""}
    checkpoint.belongs(expected or {}, {name: found[name] for name in expected or {}}, Path(config.manifest))
    if run is None:
        run = new_run(runs, config.model, Path(config.manifest)) if fabric.is_global_zero else Path()
    training.run = run = Path(fabric.broadcast(str(run)))
    if resume:
        training.restore(run)
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        write_run(run, config, training.facts())
    if started is not None:
        started(training)
    with Interrupts() as stop:
        try:
            code = training.run_to_end(run, stop)
        except ModelError as error:  # a side or a number of frames that the network cannot take
            raise UsageError(str(error)) from error
    return Result(run, training.progress, code)


def device_facts(fabric: Fabric) -> dict[str, Any]:
    """Name, processes, precision and threads of the machine this runs on."""
    cuda = fabric.device.type == "cuda"
    name = torch.cuda.get_device_name(fabric.device) if cuda else platform.processor() or platform.machine()
    return {
        "type": fabric.device.type,
        "name": name,
        "processes": fabric.world_size,
        "precision": str(fabric.strategy.precision.precision),
        "threads": torch.get_num_threads(),
    }
