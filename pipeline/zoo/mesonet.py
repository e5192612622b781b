"""MesoNet's released weights under our names: Keras arrays of channels last, one sigmoid for real.

Layer numbers in Keras run in the order in which layers are made, which is the order of the network;
the order of the file is that of its graph and differs for the inception layers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.keras_file import Layer, read_layers

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# our names of the convolutions, in the order in which the release makes its layers
PLAIN = ("convs.0", "convs.1", "convs.2", "convs.3")
INCEPTION = tuple(
    f"convs.{block}.{part}"
    for block in (0, 1)
    for part in ("enter.0", "enter.1", "dilated.0", "enter.2", "dilated.1", "enter.3", "dilated.2")
)


def meso4_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """Meso4's file as tensors by our names. Raises CheckpointError."""
    return _tensors(data, where, PLAIN, 16)


def mesoinception4_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """MesoInception4's file as tensors by our names. Raises CheckpointError."""
    return _tensors(data, where, (*INCEPTION, *PLAIN[2:]), 16)


def _tensors(data: bytes, where: str, convs: tuple[str, ...], channels: int) -> dict[str, Tensor]:
    layers = read_layers(data, where)
    made = {
        kind: sorted((one for one in layers if one.kind == kind), key=lambda one: one.number)
        for kind in ("conv2d", "batch_normalization", "dense")
    }
    expected = {"conv2d": len(convs), "batch_normalization": 4, "dense": 2}
    found = {kind: len(some) for kind, some in made.items()}
    if found != expected:
        raise CheckpointError(f"{where}: has layers {found}, expected {expected}")
    norms, (dense, head) = made["batch_normalization"], made["dense"]
    try:
        named = dict(_convolutions(convs, made["conv2d"]))
        for place, norm in enumerate(norms):
            named |= {
                f"norms.{place}.{word}": array
                for word, array in zip(BATCH_NORM, norm.arrays, strict=True)
            }
        kernel, bias = dense.arrays
        side = round((len(kernel) / channels) ** 0.5)
        # Keras flattens (H, W, C), torch (C, H, W)
        rows = kernel.reshape(side, side, channels, -1).transpose(3, 2, 0, 1)
        named |= {"dense.weight": rows.reshape(len(bias), -1), "dense.bias": bias}
        kernel, bias = head.arrays
        # the sigmoid says real: sigmoid(z) is the softmax of (z, 0) in its first place
        named["head.weight"] = np.vstack([kernel.T, np.zeros_like(kernel.T)])
        named["head.bias"] = np.concatenate([bias, np.zeros_like(bias)])
    except ValueError as error:  # arrays of other shapes or numbers
        raise CheckpointError(f"{where}: its layers have other shapes ({error})") from error
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in named.items()}


def _convolutions(
    names: tuple[str, ...], layers: list[Layer]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, layer in zip(names, layers, strict=True):
        kernel, bias = layer.arrays
        yield f"{name}.weight", kernel.transpose(3, 2, 0, 1)  # (H, W, in, out) -> torch's
        yield f"{name}.bias", bias
