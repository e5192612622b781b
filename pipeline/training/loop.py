"""The training loop: clips in, a run folder out. Devices, processes and precision come from
Lightning Fabric.

Resume is exact because nothing needs to be remembered but tensors and a position: the plan of an
epoch is a function of (seed, epoch), each sample carries its own random numbers, the network's
dropout is seeded anew at every step from (seed, step, process), and the learning rate is a function
of the step. No line of metrics.jsonl holds a clock.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unmask.models.recipes.losses import balanced_weights, total_loss
from unmask.models.recipes.optimizers import build_optimizer, lr_factor
from unmask.models.recipes.recipes import as_values, get_recipe
from unmask.pipeline.clips.augment import build_augment
from unmask.pipeline.clips.batches import RawBatch
from unmask.pipeline.clips.plans import share, training_plan
from unmask.pipeline.clips.prepare import Augment, prepare
from unmask.pipeline.clips.readers import find_videos
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import EXIT_OK, EXIT_TERMINATED, CheckpointError, TrainError, UsageError
from unmask.pipeline.machine.interrupts import Interrupts
from unmask.pipeline.machine.memory import keep_freed_memory
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.networks import build_network
from unmask.pipeline.runs.summary import rank
from unmask.pipeline.training.curves import Clock, Curves
from unmask.pipeline.training.fabric import Outputs, device_facts
from unmask.pipeline.training.progress import Live, Progress
from unmask.pipeline.training.validation import score_sums, video_metrics

log = logging.getLogger(__name__)

KEEP = 2


class Training:
    """One run from its first to its last step. `run_to_end` is the loop; the rest is what it
    says.
    """

    def __init__(
        self, config: TrainConfig, fabric: Fabric, report: Callable[[Live], None] | None
    ) -> None:
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
                "the recipe's loss wants masks and the model makes none: --option mask=true (and "
                "a cache extracted "
                "with --masks), or --set loss.seg=0"
            )
        self.source = ClipSource(videos, Path(config.cache), self.spec)
        self.validation = self._open_validation()
        self.augment: Augment | None = build_augment(self.recipe.augment, self.spec.size)
        weights = balanced_weights(torch.from_numpy(self.source.labels))
        self.class_weight = (
            weights.to(fabric.device) if self.recipe.class_weights == "balanced" else None
        )
        self.progress = Progress()
        plan = self.plan(0)
        for (
            batch
        ) in plan:  # every epoch has batches of these sizes: refuse now what would fail later
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
        self.ema = (
            AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True)
            if config.ema
            else None
        )

    def _open_validation(self) -> ClipSource | None:
        if not self.config.val:
            log.warning("no validation manifest: the last weights will count as the best")
            return None
        spec = replace(self.spec, masks=False)
        source = ClipSource(
            Path(self.config.val),
            Path(self.config.cache),
            spec,
            allow_missing=self.config.allow_missing,
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
        """Epoch after epoch until the last step, the patience or a signal; returns the exit
        code.
        """
        first, at = self.fabric.is_global_zero, self.progress
        with Curves(
            run, at.log_bytes, at.step, write=first, tensorboard=self.config.tensorboard
        ) as curves:
            self.run, self.stop, self.curves = run, stop, curves
            # batch > 0: stopped inside an epoch, perhaps after its last step and before its
            # validation
            while at.batch or (
                at.epoch < self.recipe.epochs and at.step < self.steps and not self._tired()
            ):
                if not self._epoch() or not self._close_epoch():
                    self._save()
                    return (
                        stop.exit_code or EXIT_TERMINATED
                    )  # the signal may have reached another process only
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
            share(batch, self.fabric.global_rank, self.fabric.world_size, self.config.accumulate)
            for batch in todo
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
        torch.manual_seed(
            zlib.crc32(f"{self.config.seed}/{progress.step}/{fabric.global_rank}".encode())
        )
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
                loss = total_loss(
                    self.recipe.loss, outputs, data.label, data.masks, self.class_weight
                )["loss"]
                # Means over parts of unequal size add up to the mean over the global batch.
                fabric.backward(loss * (len(raw.samples) * fabric.world_size / len(batch)))
            total[0] += loss.detach() * (len(raw.samples) / len(batch))
        norm = fabric.clip_gradients(
            self.model,
            self.optimizer,
            max_norm=self.recipe.clip or math.inf,
            error_if_nonfinite=False,
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
        order = zlib.crc32(
            repr([(sample.video, sample.picks, sample.seed) for sample in batch]).encode()
        )
        self.curves.step(progress.epoch, progress.step, loss, rate, len(batch), order)
        if loss is not None:
            progress.row = 0
            return
        progress.skipped, progress.row = progress.skipped + 1, progress.row + 1
        names = ", ".join(self.source.entries[sample.video].folder for sample in batch[:20])
        log.warning(
            "step %d skipped: loss or gradient is not finite; its videos: %s", progress.step, names
        )
        if progress.row >= self.config.nan_limit:
            progress.row = 0
            where = self._save()
            raise TrainError(
                f"no finite loss in {self.config.nan_limit} steps in a row, the last on {names}; "
                "the weights before "
                f"them are in {where}; take a smaller lr (--set lr=...), or --precision 32-true"
            )

    def _close_epoch(self) -> bool:
        """Validate, keep what is best, save; False when a signal came meanwhile (validation is
        then done again).
        """
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
        """Video AUC and log-loss of the validation manifest, None where undefined; None at all
        when stopped.
        """
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
        return (
            None
            if sums is None
            else video_metrics(self.validation, fabric.all_reduce(sums, reduce_op="sum"))
        )

    def identity(self) -> dict[str, Any]:
        """Everything that decides the weights; a checkpoint of another identity is refused."""
        config = self.config
        recipe = {
            name: value
            for name, value in as_values(self.recipe).items()
            if name not in ("epochs", "source")
        }
        names = ("model", "options", "seed", "all_clips", "accumulate", "ema")
        values = {name: getattr(config, name) for name in names} | {
            f"recipe.{n}": v for n, v in recipe.items()
        }
        pixels = {"key": self.source.key, "manifest": self.source.sha256}
        return json.loads(json.dumps(values | pixels))

    def _save(self, best: bool = False) -> Path:
        """Write a checkpoint from the first process while the others wait."""
        name = f"{'best' if best else 'step'}-{self.progress.step:08d}"
        if self.fabric.is_global_zero:
            self.progress.log_bytes = self.curves.flush()
            tensors, rest = checkpoint.split_optimizer(self.raw_optimizer.state_dict())
            state = {
                "identity": self.identity(),
                "progress": asdict(self.progress),
                "optimizer": rest,
            }
            state["scaler"] = self.fabric.strategy.precision.state_dict()
            parts = {"model": self.network.state_dict(), "optimizer": None if best else tensors}
            parts["ema"] = None if self.ema is None else self.ema.module.state_dict()
            checkpoint.save(self.run, name, state, parts, keep=1 if best else KEEP)
        self.fabric.barrier()
        return self.run / checkpoint.FOLDER / name

    def restore(self, run: Path) -> None:
        """Go back to the newest whole checkpoint of a run; without one the run starts again from
        its seed.

        Raises CheckpointError for other settings, other pixels, or when every checkpoint is
        damaged.
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
            raise CheckpointError(
                f"{point.folder}: its progress cannot be read ({error})"
            ) from error
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
