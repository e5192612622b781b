"""M2TR's released names: a plain stage on random weights that carry them, and every tensor of the
published size.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.pipeline.zoo.test_names import sbi_state
from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.m2tr_names import m2tr_names

WIDTH = 32


def released_state(side: int, depth: int) -> dict[str, Tensor]:
    """Random weights of the release's network for pictures of this side, by its names."""
    backbone = {name.removeprefix("net."): value for name, value in sbi_state().items()}
    state = {f"model.{name}": value for name, value in backbone.items()}

    def conv(name: str, kernel: int) -> None:
        fan = WIDTH * kernel**2
        state[f"{name}.weight"] = torch.randn(WIDTH, WIDTH, kernel, kernel) / math.sqrt(fan)
        state[f"{name}.bias"] = 0.1 * torch.randn(WIDTH)

    def norm(name: str) -> None:
        for word, least in {
            "weight": 0.5,
            "bias": 0,
            "running_mean": 0,
            "running_var": 0.5,
        }.items():
            state[f"{name}.{word}"] = least + torch.rand(WIDTH) * (1 if least else 0.2)

    for layer in range(depth):
        start = f"layers.{layer}."
        for word in ("query", "key", "value"):
            conv(f"{start}0.t.attention.{word}_embedding", 1)
        conv(f"{start}0.t.attention.output_linear.0", 3)
        norm(f"{start}0.t.attention.output_linear.1")
        for part in ("0.t", "1"):
            for place in (0, 3):
                conv(f"{start}{part}.feed_forward.conv.{place}", 3)
                norm(f"{start}{part}.feed_forward.conv.{place + 1}")
        shape = (side // 4, side // 8 + 1, WIDTH, 2)
        state[f"{start}1.filter.complex_weight"] = 0.3 * torch.randn(shape)
        for number in (1, 2, 3):
            conv(f"{start}2.conv{number}", 1)
        conv(f"{start}2.conv4.0", 1)
        norm(f"{start}2.conv4.1")
    state["classifier.projection.weight"] = torch.randn(2, 1792) / 40
    state["classifier.projection.bias"] = torch.randn(2)
    return state


def plain_stage(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The first layer written out with torch's functions on the release's names."""

    def conv(x: Tensor, name: str, **how: int) -> Tensor:
        name = f"layers.0.{name}"
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    def norm(x: Tensor, name: str) -> Tensor:
        words = ("running_mean", "running_var", "weight", "bias")
        values = [state[f"layers.0.{name}.{word}"] for word in words]
        return F.leaky_relu(F.batch_norm(x, *values), 0.2)

    def feed(x: Tensor, name: str) -> Tensor:
        x = norm(conv(x, f"{name}.conv.0", padding=2, dilation=2), f"{name}.conv.1")
        return norm(conv(x, f"{name}.conv.3", padding=1), f"{name}.conv.4")

    side = x.shape[-1]
    three = [conv(x, f"0.t.attention.{w}_embedding").chunk(4, 1) for w in ("query", "key", "value")]
    heads = []
    for head, patch in enumerate((side, side // 2, side // 4, side // 8)):
        # (N, patches, channels * patch * patch)
        q, k, v = (F.unfold(part[head], patch, stride=patch).transpose(1, 2) for part in three)
        y = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1) @ v
        heads.append(F.fold(y.transpose(1, 2), side, patch, stride=patch))
    out = conv(torch.cat(heads, 1), "0.t.attention.output_linear.0", padding=1)
    x = x + norm(out, "0.t.attention.output_linear.1")
    x = x + feed(x, "0.t.feed_forward")
    weight = torch.view_as_complex(state["layers.0.1.filter.complex_weight"])
    last = x.permute(0, 2, 3, 1)
    spectrum = torch.fft.rfft2(last, dim=(1, 2), norm="ortho") * weight
    z = torch.fft.irfft2(spectrum, s=(side, side), dim=(1, 2), norm="ortho").permute(0, 3, 1, 2)
    f = x + feed(z, "1.feed_forward")
    q, k, v = (
        conv(source, f"2.conv{n}").flatten(2).transpose(1, 2)
        for source, n in ((x, 1), (f, 2), (f, 3))
    )
    y = torch.softmax(q @ k.transpose(1, 2) * WIDTH**-0.5, -1) @ v
    return x + norm(conv(y.transpose(1, 2).unflatten(2, (side, side)), "2.conv4.0"), "2.conv4.1")


def test_a_stage_of_the_release_gives_what_a_plain_stage_gives() -> None:
    torch.manual_seed(0)
    state = released_state(64, 1)
    network = create_model("m2tr", variant="fft", side=64, depth=1, fit="resize").eval()
    missing, unexpected = network.load_state_dict(m2tr_names(state, "w"), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    x = torch.randn(2, WIDTH, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network.stages(x), plain_stage(state, x), rtol=1e-3, atol=1e-4)
    assert torch.equal(network.head.weight, state["classifier.projection.weight"])
    stem = network.state_dict()["backbone.conv_stem.weight"]
    assert torch.equal(stem, state["model._conv_stem.weight"])


def test_every_tensor_of_the_published_size_has_its_place() -> None:
    with torch.device("meta"):
        found = m2tr_names(released_state(320, 4), "w")
        mine = create_model("m2tr", variant="fft", side=320, fit="resize").state_dict()
    shapes = {n: v.shape for n, v in mine.items() if not n.endswith("num_batches_tracked")}
    named = {n: v.shape for n, v in found.items() if not n.endswith("num_batches_tracked")}
    assert named == shapes


def test_what_is_unknown_or_missing_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"unknown tensor 'layers.0.3.conv.weight'"):
        m2tr_names({"layers.0.3.conv.weight": torch.zeros(1)}, "w")
    with pytest.raises(CheckpointError, match=r"conv2.bias' lacks what belongs beside it"):
        m2tr_names({"layers.0.2.conv2.bias": torch.zeros(1)}, "w")
