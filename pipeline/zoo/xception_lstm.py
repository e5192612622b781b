"""Xception-LSTM's weights under our names: Keras arrays of channels last.

The authors' Keras code (June 2022) makes a Sequential of attention, a time-distributed Xception, a
ConvLSTM and three dense layers. Keras names the arrays of Xception after its layers. Those of the
attention it lists in the order in which its parts are made: the spatial mask, enter, norm and
leave, then query, key, value and the last projection.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.keras_file import Layer, read_layers

Array = NDArray[np.float32]

# Two arrays each: kernel and bias, gamma and beta.
ATTENTION = (
    ("spatial.mask", "convolution"),
    ("spatial.enter", "linear"),
    ("spatial.norm", "norm"),
    ("spatial.leave", "linear"),
    ("temporal.query", "linear"),
    ("temporal.key", "linear"),
    ("temporal.value", "linear"),
    ("temporal.leave", "linear"),
)
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
KINDS = ("attention", "time_distributed", "conv_lst_m2d", "dense")


def xception_lstm_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """A checkpoint of the released training as `xception_lstm`. Raises CheckpointError."""
    layers = read_layers(data, where)
    found = {
        kind: sorted((one for one in layers if one.kind == kind), key=lambda one: one.number)
        for kind in KINDS
    }
    numbers = [len(found[kind]) for kind in KINDS]
    if numbers != [1, 1, 1, 3]:
        raise CheckpointError(
            f"{where}: has {numbers[0]} attention, {numbers[1]} time-distributed networks, "
            f"{numbers[2]} ConvLSTMs and {numbers[3]} dense layers, expected 1, 1, 1 and 3"
        )
    try:
        arrays = {
            **dict(_attention(found["attention"][0].arrays)),
            **dict(_xception(found["time_distributed"][0])),
            **dict(_rest(found["conv_lst_m2d"][0], found["dense"])),
        }
    except KeyError as error:
        raise CheckpointError(f"{where}: its Xception has no {error.args[0]}") from error
    except ValueError as error:
        raise CheckpointError(f"{where}: its layers have other shapes ({error!s:.80})") from error
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _attention(arrays: tuple[Array, ...]) -> Iterator[tuple[str, Array]]:
    pairs = zip(arrays[::2], arrays[1::2], strict=True)
    for (name, kind), (first, second) in zip(ATTENTION, pairs, strict=True):
        if kind == "norm":  # over one pixel of three channels, (1, 1, 3)
            first, second = first.reshape(3), second.reshape(3)
        elif kind == "linear":  # a convolution of 1 x 1
            first = first[0, 0].T
        else:
            first = first.transpose(3, 2, 0, 1)
        yield f"attention.{name}.weight", first
        yield f"attention.{name}.bias", second


def _xception(layer: Layer) -> Iterator[tuple[str, Array]]:
    """Keras' block N is timm's block N - 1, and what lies outside blocks has numbers there."""
    named: dict[str, dict[str, Array]] = {}
    for word, array in zip(layer.words, layer.arrays, strict=True):
        *_, part, kind = word.removesuffix(":0").split("/")
        named.setdefault(part, {})[kind] = array
    yield from _convolution(named["block1_conv1"], "conv1")
    yield from _norm(named["block1_conv1_bn"], "bn1")
    yield from _convolution(named["block1_conv2"], "conv2")
    yield from _norm(named["block1_conv2_bn"], "bn2")
    for block in range(2, 14):
        # A ReLU comes before each separable convolution, but not before the first of all.
        place = 0 if block == 2 else 1
        for part in range(1, 4 if 5 <= block <= 12 else 3):
            start = f"block{block - 1}.rep.{place}"
            yield from _separable(named[f"block{block}_sepconv{part}"], start)
            norm = named[f"block{block}_sepconv{part}_bn"]
            yield from _norm(norm, f"block{block - 1}.rep.{place + 1}")
            place += 3
    # The four shortcuts are numbered on by Keras, in the order of their blocks.
    shortcuts = zip(
        (1, 2, 3, 12),
        _numbered(named, "conv2d"),
        _numbered(named, "batch_normalization"),
        strict=True,
    )
    for block, convolution, norm in shortcuts:
        yield from _convolution(convolution, f"block{block}.skip")
        yield from _norm(norm, f"block{block}.skipbn")
    for part, place in ((1, 3), (2, 4)):
        yield from _separable(named[f"block14_sepconv{part}"], f"conv{place}")
        yield from _norm(named[f"block14_sepconv{part}_bn"], f"bn{place}")


def _numbered(named: dict[str, dict[str, Array]], kind: str) -> list[dict[str, Array]]:
    """Layers of a kind that Keras names by running number, in its order."""
    numbers = {}
    for name, arrays in named.items():
        if name == kind or (name.startswith(f"{kind}_") and name[len(kind) + 1 :].isdigit()):
            numbers[int(name[len(kind) + 1 :] or 0)] = arrays
    return [numbers[number] for number in sorted(numbers)]


def _convolution(arrays: dict[str, Array], name: str) -> Iterator[tuple[str, Array]]:
    yield f"backbone.{name}.weight", arrays["kernel"].transpose(3, 2, 0, 1)


def _separable(arrays: dict[str, Array], name: str) -> Iterator[tuple[str, Array]]:
    depthwise, pointwise = arrays["depthwise_kernel"], arrays["pointwise_kernel"]
    yield f"backbone.{name}.conv1.weight", depthwise.transpose(2, 3, 0, 1)
    yield f"backbone.{name}.pointwise.weight", pointwise.transpose(3, 2, 0, 1)


def _norm(arrays: dict[str, Array], name: str) -> Iterator[tuple[str, Array]]:
    for theirs, ours in zip(NORM, BATCH_NORM, strict=True):
        yield f"backbone.{name}.{ours}", arrays[theirs]


def _rest(lstm: Layer, dense: list[Layer]) -> Iterator[tuple[str, Array]]:
    kernel, recurrent, bias = lstm.arrays
    yield "rnn.input_kernel", kernel.transpose(3, 2, 0, 1)
    yield "rnn.recurrent_kernel", recurrent.transpose(3, 2, 0, 1)
    yield "rnn.bias", bias
    for number, layer in enumerate(dense, 1):
        kernel, bias = layer.arrays  # classes are (real, fake), as here
        yield f"head.dense{number}.weight", kernel.T
        yield f"head.dense{number}.bias", bias
