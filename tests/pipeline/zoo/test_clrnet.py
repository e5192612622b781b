"""CLRNet: a file laid out as Keras does gives the logits of a plain forward of its own arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.keras_files import Arrays, write_keras
from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.clrnet import clrnet_tensors

WIDTH = 8
DEPTHS = (3, 4, 6, 3)


class Maker:
    """Makes layers as Keras does, named by kind and running number, and keeps their arrays."""

    def __init__(self, norm: str = "batch_normalization", first: int = 0) -> None:
        self.layers: dict[str, Arrays] = {}
        self.rng, self.norm_kind, self.first = np.random.default_rng(0), norm, first
        self.made: dict[str, int] = {}

    def name(self, kind: str) -> str:
        number = self.made.get(kind, self.first)
        self.made[kind] = number + 1
        return f"{kind}_{number}" if number else kind

    def draw(self, *shape: int, scale: float = 0.2) -> np.ndarray:
        return self.rng.normal(0, scale, shape).astype(np.float32)

    def lstm(self, inputs: int, filters: int, kernel: int, name: str = "") -> str:
        scale = 0.6 / (kernel * inputs**0.5)
        name = name or self.name("conv_lst_m2d")
        self.layers[name] = {
            "kernel:0": self.draw(kernel, kernel, inputs, 4 * filters, scale=scale),
            "recurrent_kernel:0": self.draw(kernel, kernel, filters, 4 * filters, scale=scale),
            "bias:0": self.draw(4 * filters),
        }
        return name

    def norm(self, channels: int) -> str:
        name = self.name(self.norm_kind)
        self.layers[name] = {
            "gamma:0": 1 + self.draw(channels),
            "beta:0": self.draw(channels),
            "moving_mean:0": self.draw(channels, scale=0.05),
            "moving_variance:0": 0.05 + self.draw(channels) ** 2,
        }
        return name


def released(norm: str = "batch_normalization", first: int = 0) -> tuple[Maker, list]:
    """The layers of the release, narrow, and how they hang together: per block (norm or "",
    ConvLSTM, stride) three times and the shortcut's two.
    """
    make = Maker(norm, first)
    stem = (make.lstm(3, WIDTH, 7), make.norm(WIDTH))
    blocks, channels = [], WIDTH
    for stage, depth in enumerate(DEPTHS):
        filters = WIDTH * 2**stage
        for index in range(depth):
            start = stage == index == 0
            stride = 1 if index else 2
            one = "" if start else make.norm(channels)
            kernel, name = (3, "res0a_branch2a") if start else (1, "")
            parts = [(one, make.lstm(channels, filters, kernel, name), stride)]
            parts.append((make.norm(filters), make.lstm(filters, filters, 3), 1))
            parts.append((make.norm(filters), make.lstm(filters, 4 * filters, 1), 1))
            shortcut = None
            if not index:
                shortcut = (make.lstm(channels, 4 * filters, 1), make.norm(4 * filters), stride)
            blocks.append((parts, shortcut))
            channels = 4 * filters
    head = make.norm(channels)
    make.layers["dense"] = {"kernel:0": make.draw(channels, 2), "bias:0": make.draw(2)}
    return make, [stem, blocks, head]


def plain(make: Maker, plan: list, clip: Tensor) -> Tensor:
    """The release written out, one clip (T, 3, S, S) -> its logits, real first as here."""

    def arrays(name: str) -> list[Tensor]:
        return [torch.from_numpy(array) for array in make.layers[name].values()]

    def same(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
        """Keras' "same": the odd border lies below and at the right."""
        size, k = x.shape[-1], kernel.shape[0]
        total = max((-(-size // stride) - 1) * stride + k - size, 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride)

    def lstm(x: Tensor, name: str, stride: int) -> Tensor:
        kernel, recurrent, bias = arrays(name)
        cell = hidden = None
        seen = []
        for frame in x:
            gates = same(frame[None], kernel, stride) + bias[:, None, None]
            if hidden is not None:
                gates = gates + same(hidden, recurrent, 1)
            i, f, g, o = gates.chunk(4, 1)
            i, f, o = ((0.2 * gate + 0.5).clamp(0, 1) for gate in (i, f, o))
            cell = i * torch.tanh(g) + (0 if cell is None else f * cell)
            hidden = o * torch.tanh(cell)
            seen.append(hidden)
        return torch.cat(seen)

    def norm(x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, var = (value[:, None, None] for value in arrays(name))
        return (x - mean) / torch.sqrt(var + 1e-3) * gamma + beta

    (conv, first), blocks, last = plan
    x = F.relu(norm(lstm(clip, conv, 2), first))
    total = max((-(-x.shape[-1] // 3) - 1) * 3 + 3 - x.shape[-1], 0)
    x = F.max_pool2d(F.pad(x, (total // 2, total - total // 2) * 2), 3, 3)
    for parts, shortcut in blocks:
        y = x
        for before, conv, stride in parts:
            y = lstm(F.relu(norm(y, before)) if before else y, conv, stride)
        if shortcut:
            conv, after, stride = shortcut
            x = norm(lstm(x, conv, stride), after)
        x = x + y
    pooled = norm(x, last).mean((0, 2, 3))
    kernel, bias = arrays("dense")
    return (pooled @ kernel + bias).flip(0)


@pytest.mark.parametrize(
    ("norm", "first"), [("batch_normalization", 0), ("batch_normalization_v1", 60)]
)
def test_a_file_of_the_release_gives_the_logits_of_a_plain_forward(norm, first, tmp_path) -> None:
    """Also where another network was made before it in the same process, which shifts numbers."""
    make, plan = released(norm, first)
    path = write_keras(tmp_path / "clrnet.h5", make.layers)
    network = create_model("clrnet", width=WIDTH, frames=3, size=96).eval()
    tensors = clrnet_tensors(path.read_bytes(), str(path))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    torch.manual_seed(0)
    clip = torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        ours, theirs = network(clip[None])[0], plain(make, plan, clip)
    assert theirs.abs().max() > 0.05
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_another_network_is_refused_in_numbers(tmp_path) -> None:
    make, _ = released()
    del make.layers["conv_lst_m2d_3"]
    path = write_keras(tmp_path / "cut.h5", make.layers)
    with pytest.raises(CheckpointError, match=r"cut.h5: has 52 ConvLSTMs, 53 BatchNorms, 1 dense"):
        clrnet_tensors(path.read_bytes(), "cut.h5")
    make, _ = released()
    make.layers["dense"] = {"kernel:0": make.draw(4, 2)}
    path = write_keras(tmp_path / "odd.h5", make.layers)
    with pytest.raises(CheckpointError, match=r"odd.h5: its layers have other shapes"):
        clrnet_tensors(path.read_bytes(), "odd.h5")
