"""Devices, processes and precision of a training, through Lightning Fabric; the only file that
imports it.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.devices import choose_device


class Outputs(nn.Module):
    """The network seen through `outputs`, because wrappers (several processes, compilation) only
    know `forward`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor, bands: Tensor | None) -> dict[str, Tensor]:
        return self.network.outputs(clip, bands)


def build_fabric(config: TrainConfig) -> Fabric:
    """Device, precision and processes. Several processes: `devices`, or what torchrun has started.

    float32 on a CPU; on a GPU bf16 where it has it, else float16 with a loss scale. Raises
    UsageError without the GPU that was asked for, and for what several CPU processes cannot do.
    """
    device = choose_device(config.device)
    precision = config.precision
    if precision == "auto":
        mixed = "bf16-mixed" if device == "cuda" and torch.cuda.is_bf16_supported() else "16-mixed"
        precision = mixed if device == "cuda" else "32-true"
    local, nodes = config.devices, 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        local = _count_from_torchrun("LOCAL_WORLD_SIZE", local)
        nodes = max(1, _count_from_torchrun("WORLD_SIZE", local) // local)
    if config.sync_norm and device == "cpu" and local * nodes > 1:
        raise UsageError(
            "--sync-norm shares batch statistics between GPUs, and this runs on CPUs; leave it out"
        )
    # Recipes without the mask loss leave M2TR's decoder without a gradient.
    strategy = "ddp_find_unused_parameters_true" if local * nodes > 1 else "auto"
    return Fabric(
        accelerator=device, devices=local, num_nodes=nodes, strategy=strategy, precision=precision
    )


def _count_from_torchrun(name: str, default: int) -> int:
    """A number of processes from the environment that torchrun makes."""
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise UsageError(
            f"the environment has {name}={text:.40}, which is no number of processes; start with "
            "torchrun, which sets it, or unset it"
        )
    return int(text)


def device_facts(fabric: Fabric) -> dict[str, Any]:
    """Name, processes, precision and threads of the machine this runs on."""
    cuda = fabric.device.type == "cuda"
    name = (
        torch.cuda.get_device_name(fabric.device)
        if cuda
        else platform.processor() or platform.machine()
    )
    return {
        "type": fabric.device.type,
        "name": name,
        "processes": fabric.world_size,
        "precision": str(fabric.strategy.precision.precision),
        "threads": torch.get_num_threads(),
    }
