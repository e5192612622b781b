"""Weights that Keras wrote to HDF5: every layer's arrays, in the order of the file's own list.

    file attribute layer_names; one group a layer, its attribute weight_names naming the arrays

The file is opened in memory, so that a link or an external dataset in it can name no other file;
h5py runs no code of it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.errors import CheckpointError

# A layer may be a network of its own, as Xception with its 236 arrays.
MOST_LAYERS, MOST_ARRAYS, MOST_BYTES = 10_000, 1_000, 2**33


@dataclass(frozen=True)
class Layer:
    """One layer that has weights: its name without Keras' running number, and its arrays in
    Keras' order (kernel, bias; gamma, beta, moving mean, moving variance).

    words: the arrays' names, as `dense/kernel:0`.
    """

    kind: str
    number: int
    arrays: tuple[NDArray[np.float32], ...]
    words: tuple[str, ...]


def read_layers(data: bytes, where: str) -> list[Layer]:
    """The layers with weights of a Keras weight file, in its order.

    where: named in errors. Raises CheckpointError for anything else.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            root = file.get("model_weights", file)
            names = [_text(name) for name in root.attrs["layer_names"]]
            if len(names) > MOST_LAYERS:
                raise ValueError(f"{len(names)} layers")
            layers = [_layer(root, name) for name in names]
    # h5py raises OSError, KeyError, RuntimeError and others on what is damaged or not ours
    except Exception as error:
        raise CheckpointError(
            f"{where}: not readable as weights of Keras ({type(error).__name__}: {error!s:.80})"
        ) from error
    return [layer for layer in layers if layer.arrays]


def _layer(root: h5py.Group, name: str) -> Layer:
    group = root[name]
    words = [_text(word) for word in group.attrs["weight_names"]]
    if len(words) > MOST_ARRAYS:
        raise ValueError(f"{name}: {len(words)} arrays")
    arrays = []
    for word in words:
        link = group.get(word, getlink=True)
        dataset = group[word]
        if not isinstance(link, h5py.HardLink) or not isinstance(dataset, h5py.Dataset):
            raise TypeError(f"{name}/{word} is not an array of this file")
        if dataset.external or dataset.is_virtual or dataset.dtype != np.float32:
            raise TypeError(f"{name}/{word} is not plain float32")
        if dataset.size * 4 > MOST_BYTES:
            raise ValueError(f"{name}/{word} is too large")
        arrays.append(dataset[()])
    kind, _, number = name.rpartition("_")
    numbered = number.isdigit() and kind
    kind, count = (kind, int(number)) if numbered else (name, 0)
    return Layer(kind, count, tuple(arrays), tuple(words))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
