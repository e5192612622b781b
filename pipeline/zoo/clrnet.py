"""CLRNet's released weights under our names: Keras arrays of channels last, real where we say fake.

Its code (github.com/shahroztariq/CLRNet, src/CLRNet_convlstm.py, c2e8965) names one ConvLSTM alone
and leaves the others to Keras, which numbers layers in the order in which they are made: stem, then
of every block its three pairs of BatchNorm and ConvLSTM and what its shortcut needs, then the head.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models.clrnet import DEPTHS
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.keras_file import Layer, read_layers

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# The first ConvLSTM of the first block has a name instead of a number.
NAMED = "res0a_branch2a"
# Keras of TensorFlow 1.13 says _v1.
NORMS = ("batch_normalization", "batch_normalization_v1")


def clrnet_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """A released checkpoint as `clrnet`. Raises CheckpointError."""
    layers = read_layers(data, where)
    convolutions = _made(layers, "conv_lst_m2d")
    named = [layer for layer in layers if layer.kind == NAMED]
    norms, dense = _made(layers, *NORMS), _made(layers, "dense")
    ours = list(_places())
    ours_norms = [name for name, kind in ours if kind == "norm"]
    ours_convolutions = [name for name, kind in ours if kind == "convolution"]
    found = (len(convolutions) + len(named), len(norms), len(dense))
    expected = (len(ours_convolutions), len(ours_norms), 1)
    if found != expected or len(named) != 1:
        raise CheckpointError(
            f"{where}: has {found[0]} ConvLSTMs, {found[1]} BatchNorms, {found[2]} dense layers "
            f"and {len(named)} called {NAMED}, expected {expected[0]}, {expected[1]}, 1 and 1"
        )
    convolutions.insert(1, named[0])  # it follows the stem's
    arrays: dict[str, NDArray[np.float32]] = {}
    try:
        for name, layer in zip(ours_convolutions, convolutions, strict=True):
            kernel, recurrent, bias = layer.arrays
            arrays[f"{name}.input_kernel"] = kernel.transpose(3, 2, 0, 1)
            arrays[f"{name}.recurrent_kernel"] = recurrent.transpose(3, 2, 0, 1)
            arrays[f"{name}.bias"] = bias
        for name, layer in zip(ours_norms, norms, strict=True):
            for word, array in zip(BATCH_NORM, layer.arrays, strict=True):
                arrays[f"{name}.{word}"] = array
        kernel, bias = dense[0].arrays
        # classes are (fake, real) there and (real, fake) here
        arrays |= {"head.fc.weight": kernel.T[::-1], "head.fc.bias": bias[::-1]}
    except ValueError as error:
        raise CheckpointError(f"{where}: its layers have other shapes ({error!s:.80})") from error
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _made(layers: list[Layer], *kinds: str) -> list[Layer]:
    """Layers of these kinds in the order in which they were made."""
    return sorted((one for one in layers if one.kind in kinds), key=lambda one: one.number)


def _places() -> Iterator[tuple[str, str]]:
    """Our names in the order in which the release makes its layers, each with its kind."""
    yield from (("stem.conv", "convolution"), ("stem.norm", "norm"))
    for stage, depth in enumerate(DEPTHS):
        for block in range(depth):
            start = f"stage{stage}.{block}"
            if stage or block:
                yield f"{start}.norm1", "norm"
            yield f"{start}.conv1", "convolution"
            for part in (2, 3):
                yield from ((f"{start}.norm{part}", "norm"), (f"{start}.conv{part}", "convolution"))
            if not block:
                yield f"{start}.shortcut", "convolution"
                yield f"{start}.shortcut_norm", "norm"
    yield "head.norm", "norm"
