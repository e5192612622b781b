"""MesoNet: the released files give the probabilities that a plain forward of their own arrays
gives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.keras_files import random_meso4, read_keras, write_keras
from unmask.models import create_model
from unmask.models.options import ModelError
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.mesonet import meso4_tensors, mesoinception4_tensors

FILES = {
    "Meso4_DF.h5": "meso4",
    "Meso4_F2F.h5": "meso4",
    "MesoInception_DF.h5": "mesoinception4",
    "MesoInception_F2F.h5": "mesoinception4",
}
CONVERT = {"meso4": meso4_tensors, "mesoinception4": mesoinception4_tensors}


class Plain:
    """The released networks written out on the file's own arrays: (N, 3, 256, 256) in 0..1 -> logit
    of real (N,). Layers are taken by their running number, as the release makes them.
    """

    def __init__(self, path: Path) -> None:
        self.layers = {
            name: {word: torch.from_numpy(array) for word, array in arrays.items()}
            for name, arrays in read_keras(path).items()
        }
        self.used: dict[str, int] = {}

    def next(self, kind: str) -> dict[str, Tensor]:
        names = sorted(
            (n for n in self.layers if n.rpartition("_")[0] == kind),
            key=lambda n: int(n.rpartition("_")[2]),
        )
        self.used[kind] = self.used.get(kind, -1) + 1
        return self.layers[names[self.used[kind]]]

    def conv(self, x: Tensor, rate: int = 1) -> Tensor:
        one = self.next("conv2d")
        kernel = one["kernel"].permute(3, 2, 0, 1)
        border = rate * (kernel.shape[-1] // 2)
        return F.relu(F.conv2d(x, kernel, one["bias"], padding=border, dilation=rate))

    def inception(self, x: Tensor) -> Tensor:
        parts = [self.conv(x)]
        for rate in (1, 2, 3):
            parts.append(self.conv(self.conv(x), rate))
        return torch.cat(parts, 1)

    def norm(self, x: Tensor, pool: int) -> Tensor:
        one = self.next("batch_normalization")
        scale = one["gamma"] / torch.sqrt(one["moving_variance"] + 1e-3)
        x = (x - one["moving_mean"][:, None, None]) * scale[:, None, None]
        return F.max_pool2d(x + one["beta"][:, None, None], pool)

    def __call__(self, x: Tensor, inception: bool) -> Tensor:
        self.used = {}
        for place in range(4):
            x = self.inception(x) if inception and place < 2 else self.conv(x)
            x = self.norm(x, 4 if place == 3 else 2)
        x = x.permute(0, 2, 3, 1).reshape(len(x), -1)  # Keras flattens channels last
        one = self.next("dense")
        x = F.leaky_relu(x @ one["kernel"] + one["bias"], 0.1)
        one = self.next("dense")
        return (x @ one["kernel"] + one["bias"])[:, 0]


def pictures(count: int = 3) -> Tensor:
    """Smooth random pictures, as faces are; plain noise drives the deeper networks to 0 or 1."""
    torch.manual_seed(0)
    return F.interpolate(torch.rand(count, 3, 12, 12), 256, mode="bicubic").clamp(0, 1)


def compare(path: Path, model: str) -> None:
    network = create_model(model).eval()
    tensors = CONVERT[model](path.read_bytes(), str(path))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    x = pictures()
    with torch.no_grad():
        logits = network(x[:, None])
        plain = Plain(path)(x, model == "mesoinception4")
    torch.testing.assert_close(logits[:, 0], plain, rtol=1e-4, atol=1e-4)
    assert not logits[:, 1].any() and len(set(plain.tolist())) == 3
    torch.testing.assert_close(logits.softmax(1)[:, 0], plain.sigmoid(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("file", "model"), FILES.items())
def test_released_weights_give_the_probability_of_a_plain_forward(file, model, media) -> None:
    path = media / "open" / "weights" / "mesonet" / file
    if not path.is_file():
        pytest.skip(f"{file} is not among the test media")
    compare(path, model)


def test_a_file_of_the_same_form_with_other_weights_does_too(tmp_path) -> None:
    compare(write_keras(tmp_path / "random.h5", random_meso4()), "meso4")


def test_the_window_is_what_the_network_looks_at() -> None:
    torch.manual_seed(0)
    whole = create_model("meso4", side=64).eval()
    cut = create_model("meso4", side=64, window=(96, 20, 10)).eval()
    cut.load_state_dict(whole.state_dict())
    clip = torch.rand(2, 1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(cut(clip), whole(clip[..., 20:84, 10:74]))
    assert cut.spec.size == 96


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 100}, "side 100 is not a multiple of 32"),
        ({"side": 64, "window": (80, 20, 0)}, r"window \(80, 20, 0\) does not hold 64 px"),
        ({"side": 64, "window": (80, -1, 0)}, "does not hold 64 px"),
    ],
)
def test_a_side_or_window_that_cannot_be_is_refused(options, message) -> None:
    with pytest.raises(ModelError, match=message):
        create_model("meso4", **options)


def test_files_of_another_network_are_refused_naming_their_layers(tmp_path) -> None:
    layers = random_meso4()
    path = write_keras(tmp_path / "meso4.h5", layers)
    with pytest.raises(CheckpointError, match=r"'conv2d': 4, .* expected {'conv2d': 16"):
        mesoinception4_tensors(path.read_bytes(), "meso4.h5")
    layers["conv2d_6"] = {"kernel:0": np.zeros((5, 5, 8), np.float32)}
    path = write_keras(tmp_path / "odd.h5", layers)
    with pytest.raises(CheckpointError, match=r"odd.h5: its layers have other shapes"):
        meso4_tensors(path.read_bytes(), "odd.h5")
