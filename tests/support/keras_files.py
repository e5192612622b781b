"""Weight files as Keras lays them out, and reading them with h5py alone."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from unmask.pipeline.zoo.releases import RELEASES

Arrays = dict[str, NDArray[np.float32]]


def write_keras(path: Path, layers: dict[str, Arrays]) -> Path:
    """Layers in this order, each with its arrays by Keras' names (`kernel:0`)."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{word}".encode() for word in arrays]
            for word, array in arrays.items():
                group[f"{name}/{word}"] = array
    return path


def read_keras(path: Path) -> dict[str, Arrays]:
    """Layer -> last word of an array's name without `:0` -> array."""
    found: dict[str, Arrays] = {}
    with h5py.File(path) as file:
        for layer in file:
            file[layer].visititems(
                lambda name, item, layer=layer: (
                    found.setdefault(layer, {}).__setitem__(
                        name.split("/")[-1].removesuffix(":0"), item[()]
                    )
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    return found


def random_meso4(seed: int = 0) -> dict[str, Arrays]:
    """Meso4's layers with random weights, numbered as in the released file."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    layers: dict[str, Arrays] = {"input_2": {}}
    inputs = 3
    for number, (kernel, width) in enumerate(((3, 8), (5, 8), (5, 16), (5, 16)), 5):
        layers[f"conv2d_{number}"] = {
            "kernel:0": draw(kernel, kernel, inputs, width),
            "bias:0": draw(width),
        }
        layers[f"batch_normalization_{number}"] = {
            "gamma:0": 1 + draw(width),
            "beta:0": draw(width),
            "moving_mean:0": draw(width),
            "moving_variance:0": 1 + draw(width) ** 2,
        }
        layers[f"max_pooling2d_{number}"] = {}
        inputs = width
    layers["flatten_2"] = {}
    layers["dense_3"] = {"kernel:0": draw(1024, 16), "bias:0": draw(16)}
    layers["dense_4"] = {"kernel:0": draw(16, 1), "bias:0": draw(1)}
    return layers


def plant_meso4(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ROOT/meso4/Meso4_DF.h5 of random weights in place of Meso4's file, known by its sha256."""
    (root / "meso4").mkdir(parents=True)
    path = write_keras(root / "meso4" / "Meso4_DF.h5", random_meso4())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = dataclasses.replace(RELEASES["meso4"], sha256=digest)
    monkeypatch.setitem(RELEASES, "meso4", known)
    return path
