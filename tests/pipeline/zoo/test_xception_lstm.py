"""Xception-LSTM: a file laid out as Keras does gives the logits of a plain forward of its own
arrays.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.keras_files import Arrays, write_keras
from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.xception_lstm import xception_lstm_tensors

FILTERS, FRAMES, SIDE = 32, 3, 80


class Release:
    """Random arrays by Keras' names, and the released network written out with them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.attention: Arrays = {}
        self.xception: Arrays = {}
        self.lstm: Arrays = {
            "kernel:0": self.draw(3, 3, 2048, 4 * FILTERS),
            "recurrent_kernel:0": self.draw(3, 3, FILTERS, 4 * FILTERS),
            "bias:0": self.draw(4 * FILTERS),
        }
        widths = (FILTERS, FILTERS, FILTERS // 2, 2)
        self.dense: list[Arrays] = [
            {"kernel:0": self.draw(enter, leave), "bias:0": self.draw(leave)}
            for enter, leave in itertools.pairwise(widths)
        ]

    def draw(self, *shape: int) -> np.ndarray:
        """As many inputs as a product sums up, so much smaller are its weights."""
        scale = 1.4 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.2
        return self.rng.normal(0, scale, shape).astype(np.float32)

    def layers(self) -> dict[str, Arrays]:
        dense = {f"dense_{n}" if n else "dense": arrays for n, arrays in enumerate(self.dense)}
        return {
            "attention": self.attention,
            "time_distributed_1": self.xception,
            "conv_lst_m2d": self.lstm,
            **dense,
        }

    # -- attention: (T, H, W, 3) of 0 to 255

    def pixelwise(self, x: Tensor, name: str, leave: int) -> Tensor:
        kernel, bias = self.draw(1, 1, 3, leave), self.draw(leave)
        self.attention |= {f"{name}/kernel:0": kernel, f"{name}/bias:0": bias}
        return x @ torch.from_numpy(kernel[0, 0]) + torch.from_numpy(bias)

    def attend(self, clip: Tensor) -> Tensor:
        mask = torch.sigmoid(self.pixelwise(clip / 1.0, "time_distributed/conv2d", 1))
        pooled = (mask * clip).sum((1, 2))  # (T, 3)
        w = self.pixelwise(pooled, "time_distributed/conv2d_1", 3)
        gamma, beta = 1 + self.draw(1, 1, 3), self.draw(1, 1, 3)
        norm = "time_distributed/layer_normalization"
        self.attention |= {f"{norm}/gamma:0": gamma, f"{norm}/beta:0": beta}
        w = F.layer_norm(w, (3,), torch.from_numpy(gamma[0, 0]), torch.from_numpy(beta[0, 0]), 1e-3)
        w = self.pixelwise(F.relu(w), "time_distributed/conv2d_2", 3)
        query, key, value = (self.pixelwise(w, f"conv2d_{n}", 3) for n in (3, 4, 5))
        seen = torch.softmax(query @ key.reshape(3, -1), -1) @ value  # keys reshaped, not turned
        gain = w + self.pixelwise(seen, "conv2d_6", 1)
        return (clip + w[:, None, None]) * gain[:, None, None] + clip

    # -- Xception: (T, C, H, W)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Its stored statistics are those of what it meets, so that nothing grows or fades."""
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        gamma, beta = 1 + self.draw(x.shape[1]) / 5, self.draw(x.shape[1])
        words = (("gamma", gamma), ("beta", beta), ("moving_mean", mean.numpy()))
        self.xception |= {f"{name}/{word}:0": array for word, array in words}
        self.xception[f"{name}/moving_variance:0"] = var.numpy()
        scaled = (x - mean[:, None, None]) / torch.sqrt(var + 1e-3)[:, None, None]
        return (
            scaled * torch.from_numpy(gamma)[:, None, None] + torch.from_numpy(beta)[:, None, None]
        )

    def conv(self, x: Tensor, name: str, leave: int, kernel: int, stride: int) -> Tensor:
        array = self.draw(kernel, kernel, x.shape[1], leave)
        self.xception[f"{name}/kernel:0"] = array
        return F.conv2d(x, torch.from_numpy(array).permute(3, 2, 0, 1), stride=stride)

    def separable(self, x: Tensor, name: str, leave: int) -> Tensor:
        deep, point = self.draw(3, 3, x.shape[1], 1), self.draw(1, 1, x.shape[1], leave)
        self.xception |= {f"{name}/depthwise_kernel:0": deep, f"{name}/pointwise_kernel:0": point}
        x = F.conv2d(x, torch.from_numpy(deep).permute(2, 3, 0, 1), padding=1, groups=x.shape[1])
        return self.norm(F.conv2d(x, torch.from_numpy(point).permute(3, 2, 0, 1)), f"{name}_bn")

    def look(self, x: Tensor) -> Tensor:
        for number, (leave, stride) in enumerate(((32, 2), (64, 1)), 1):
            name = f"block1_conv{number}"
            x = F.relu(self.norm(self.conv(x, name, leave, 3, stride), f"{name}_bn"))
        shortcuts = 0
        for block in range(2, 14):
            turning = {2: (128, 128), 3: (256, 256), 4: (728, 728), 13: (728, 1024)}
            before = x
            for part, leave in enumerate(turning.get(block, (728,) * 3), 1):
                if block > 2 or part > 1:
                    x = F.relu(x)
                x = self.separable(x, f"block{block}_sepconv{part}", leave)
            if block in turning:
                end = f"_{shortcuts + 7}"  # other convolutions of the process came before
                before = self.conv(before, f"conv2d{end}", x.shape[1], 1, 2)
                before = self.norm(before, f"batch_normalization{end if shortcuts else ''}")
                shortcuts += 1
                odd = x.shape[-1] % 2  # Keras' "same": the odd border lies below and at the right
                x = F.max_pool2d(F.pad(x, (odd, 1, odd, 1), value=-torch.inf), 3, 2)
            x = x + before
        for part, leave in ((1, 1536), (2, 2048)):
            x = F.relu(self.separable(x, f"block14_sepconv{part}", leave))
        return x

    def remember(self, x: Tensor) -> Tensor:
        kernel, recurrent, bias = (torch.from_numpy(array) for array in self.lstm.values())
        cell = hidden = None
        for frame in x:
            gates = F.conv2d(frame[None], kernel.permute(3, 2, 0, 1), bias)
            if hidden is not None:
                gates = gates + F.conv2d(hidden, recurrent.permute(3, 2, 0, 1), padding=1)
            i, f, g, o = gates.chunk(4, 1)
            i, f, o = ((0.2 * gate + 0.5).clamp(0, 1) for gate in (i, f, o))
            cell = i * torch.tanh(g) + (0 if cell is None else f * cell)
            hidden = o * torch.tanh(cell)
        return hidden.mean((2, 3))

    def logits(self, clip: Tensor) -> Tensor:
        """(T, 3, H, W) of 0 to 255 -> real, fake."""
        x = self.attend(clip.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.remember(self.look(x))
        for number, arrays in enumerate(self.dense):
            kernel, bias = (torch.from_numpy(array) for array in arrays.values())
            x = (F.relu(x) if number else x) @ kernel + bias
        return x


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release, Tensor, Tensor]:
    """A file of the release, what it holds, a clip and the release's logits of it."""
    release = Release()
    torch.manual_seed(0)
    clip = torch.rand(FRAMES, 3, SIDE, SIDE) * 255
    with torch.no_grad():
        logits = release.logits(clip)
    path = tmp_path_factory.mktemp("keras") / "weights.h5"
    return write_keras(path, release.layers()), release, clip, logits


def test_a_file_of_the_release_gives_the_logits_of_a_plain_forward(written) -> None:
    path, _, clip, theirs = written
    options = {"norm": "raw255", "key_reshape": True, "filters": FILTERS}
    network = create_model("xception_lstm", frames=FRAMES, size=SIDE, **options).eval()
    tensors = xception_lstm_tensors(path.read_bytes(), str(path))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    with torch.no_grad():
        ours = network(clip[None])
    assert theirs.abs().max() > 0.05
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_another_network_is_refused_by_what_it_lacks(written, tmp_path: Path) -> None:
    _, release, _, _ = written
    for change, words in (
        (lambda layers: layers.pop("dense_2"), "1 ConvLSTMs and 2 dense layers, expected"),
        (
            lambda layers: layers["time_distributed_1"].pop("block7_sepconv2/pointwise_kernel:0"),
            "its Xception has no pointwise_kernel",
        ),
        (
            lambda layers: layers["time_distributed_1"].pop("conv2d_9/kernel:0"),
            "its layers have other shapes",
        ),
        (
            lambda layers: layers["attention"].pop("conv2d_6/bias:0"),
            "its layers have other shapes",
        ),
    ):
        layers = {name: dict(arrays) for name, arrays in release.layers().items()}
        change(layers)
        path = write_keras(tmp_path / "odd.h5", layers)
        with pytest.raises(CheckpointError, match=words):
            xception_lstm_tensors(path.read_bytes(), "odd.h5")
