"""STIL's released names: a plain forward of random weights that carry them, in the release's own
layout of planes, and every tensor of the published size.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.stil_names import stil_names

State = dict[str, Tensor]


def released_state(width: int, layers: tuple[int, ...], device: str = "cpu") -> State:
    """Random weights by the release's names: width 64 and (3, 4, 6, 3) are the published ones."""
    state: State = {}

    def conv(name: str, *shape: int) -> None:
        fan = math.prod(shape[1:])
        state[f"base_model.{name}.weight"] = torch.randn(*shape, device=device) / math.sqrt(fan)

    def norm(name: str, channels: int) -> None:
        words = {"weight": 0.5, "bias": 0.0, "running_mean": 0.0, "running_var": 0.5}
        for word, least in words.items():
            drawn = torch.rand(channels, device=device)
            state[f"base_model.{name}.{word}"] = least + (drawn if least else 0.2 * drawn)

    half = width // 2
    for place, (inputs, outputs) in ((0, (3, half)), (3, (half, half)), (6, (half, width))):
        conv(f"conv1.{place}", outputs, inputs, 3, 3)
    norm("conv1.1", half)
    norm("conv1.4", half)
    norm("bn1", width)
    inputs = width
    for stage, count in enumerate(layers):
        for number in range(count):
            planes = width * 2**stage
            w, r, block = planes // 2, max(planes // 32, 1), f"layer{stage + 1}.{number}."
            for side in "ab":
                conv(f"{block}conv1_{side}", w, inputs, 1, 1)
                norm(f"{block}bn1_{side}", w)
            for name, place, kernel in (
                ("f_w", 1, (1, 3)),
                ("f_h", 0, (3, 1)),
                ("k3", 0, (3, 3)),
                ("k4", 0, (3, 3)),
            ):
                conv(f"{block}scconv.{name}.{place}", w, w, *kernel)
                norm(f"{block}scconv.{name}.{place + 1}", w)
            conv(f"{block}tim.conv1", r, w, 1, 1)
            norm(f"{block}tim.bn1", r)
            for plane, tie, kernel in (("ht", "htie", (3, 1)), ("tw", "vtie", (1, 3))):
                conv(f"{block}tim.conv_{plane}", r, 1, *kernel)
                for name in (f"{tie}_conv1", f"{tie}_conv2"):
                    conv(f"{block}tim.{name}.0", r, r, *kernel)
                    norm(f"{block}tim.{name}.1", r)
                conv(f"{block}tim.{plane}_up_conv.0", w, r, 1, 1)
                norm(f"{block}tim.{plane}_up_conv.1", w)
            conv(f"{block}ism.conv", 1, 1, 3)
            conv(f"{block}shift.conv", w, 1, 3)
            conv(f"{block}k1.0", w, w, 3, 3)
            norm(f"{block}k1.1", w)
            conv(f"{block}conv3", 4 * planes, 2 * w, 1, 1)
            norm(f"{block}bn3", 4 * planes)
            if number == 0:
                conv(f"{block}downsample.1", 4 * planes, inputs, 1, 1)
                norm(f"{block}downsample.2", 4 * planes)
            inputs = 4 * planes
    state["base_model.fc.weight"] = torch.randn(2, inputs, device=device) / math.sqrt(inputs)
    state["base_model.fc.bias"] = torch.randn(2, device=device)
    return state


class Plain:
    """The release written out with torch's functions on its own names."""

    def __init__(self, state: State, frames: int, layers: tuple[int, ...]) -> None:
        self.state, self.frames, self.layers = state, frames, layers

    def w(self, name: str) -> Tensor:
        return self.state[f"base_model.{name}.weight"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"base_model.{name}.{part}"] for part in parts))

    def conv(self, x: Tensor, name: str, after: str, stride: int = 1) -> Tensor:
        kernel = self.w(name)
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
        return self.norm(F.conv2d(x, kernel, stride=stride, padding=padding), after)

    def plane(self, f: Tensor, tim: str, plane: str) -> Tensor:
        """One branch in the release's layout: pictures (H, T) of each column, (T, W) of each
        row.
        """
        clips = f.unflatten(0, (-1, self.frames))  # (B, T, r, H, W)
        rows = plane == "ht"
        # (B, W, r, H, T) or (B, H, r, T, W)
        order = (0, 4, 2, 3, 1) if rows else (0, 3, 2, 1, 4)
        laid = clips.permute(order)
        flat = laid.flatten(0, 1)
        kernel = self.w(f"{tim}conv_{plane}")
        padding = (1, 0) if rows else (0, 1)
        moved = F.conv2d(flat, kernel, padding=padding, groups=flat.shape[1])
        time = 3 if rows else 2
        count = self.frames - 1
        d = moved.narrow(time, 1, count) - flat.narrow(time, 0, count)
        d = F.pad(d, (0, 1) if rows else (0, 0, 0, 1))
        tie = "htie" if rows else "vtie"
        low = F.avg_pool2d(d, (2, 1) if rows else (1, 2))
        low = self.conv(low, f"{tim}{tie}_conv1.0", f"{tim}{tie}_conv1.1")
        fine = self.conv(d, f"{tim}{tie}_conv2.0", f"{tim}{tie}_conv2.1")
        joined = (d + F.interpolate(low, d.shape[2:]) + fine) / 3
        name = f"{tim}{plane}_up_conv."
        att = torch.sigmoid(self.conv(joined, name + "0", name + "1")) - 0.5
        back = (0, 4, 2, 3, 1) if rows else (0, 3, 2, 1, 4)  # each order is its own inverse
        return att.unflatten(0, laid.shape[:2]).permute(back).flatten(0, 1)

    def shift(self, x: Tensor, name: str) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames))  # (B, T, C, H, W)
        places = clips.permute(0, 3, 4, 2, 1)  # (B, H, W, C, T)
        moved = F.conv1d(places.flatten(0, 2), self.w(name), padding=1, groups=x.shape[1])
        return moved.unflatten(0, places.shape[:3]).permute(0, 4, 3, 1, 2).flatten(0, 1)

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        a = F.relu(self.conv(x, f"{name}conv1_a", f"{name}bn1_a"))
        b = F.relu(self.conv(x, f"{name}conv1_b", f"{name}bn1_b"))
        sim = f"{name}scconv."
        u = F.relu(self.conv(F.avg_pool2d(b, 4), sim + "f_w.1", sim + "f_w.2"))
        u = self.conv(u, sim + "f_h.0", sim + "f_h.1")
        gate = torch.sigmoid(b + F.interpolate(u, b.shape[2:]))
        s = self.conv(b, sim + "k3.0", sim + "k3.1") * gate
        b = F.relu(self.conv(s, sim + "k4.0", sim + "k4.1"))
        mean = s.mean((2, 3))[:, None]  # (N, 1, w)
        weight = torch.sigmoid(F.conv1d(mean, self.w(f"{name}ism.conv"), padding=1))
        f = self.conv(a, f"{name}tim.conv1", f"{name}tim.bn1")
        tim = f"{name}tim."
        att = (self.plane(f, tim, "ht") + self.plane(f, tim, "tw")) / 2
        a = a + a * att + s * weight[:, 0, :, None, None]
        a = self.shift(a, f"{name}shift.conv")
        a = F.relu(self.conv(a, f"{name}k1.0", f"{name}k1.1"))
        if stride == 2:
            a, b = F.avg_pool2d(a, 3, 2, 1), F.avg_pool2d(b, 3, 2, 1)
        out = self.conv(torch.cat([a, b], 1), f"{name}conv3", f"{name}bn3")
        if f"base_model.{name}downsample.1.weight" in self.state:
            x = F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False)
            x = self.conv(x, f"{name}downsample.1", f"{name}downsample.2")
        return F.relu(out + x)

    def __call__(self, clip: Tensor) -> Tensor:
        x = F.relu(self.conv(clip.flatten(0, 1), "conv1.0", "conv1.1", 2))
        x = F.relu(self.conv(x, "conv1.3", "conv1.4"))
        x = F.max_pool2d(F.relu(self.conv(x, "conv1.6", "bn1")), 3, 2, 1)
        for stage, count in enumerate(self.layers, 1):
            for number in range(count):
                x = self.block(x, f"layer{stage}.{number}.", 2 if stage > 1 and not number else 1)
        logits = x.mean((2, 3)) @ self.w("fc").T + self.state["base_model.fc.bias"]
        return logits.unflatten(0, (-1, self.frames)).mean(1)


def test_a_checkpoint_of_the_release_gives_the_logits_of_a_plain_forward() -> None:
    torch.manual_seed(0)
    layers = (2, 2, 2, 2)
    state = released_state(16, layers)
    network = create_model("stil", width=16, layers="2-2-2-2", frames=3).eval()
    missing, unexpected = network.load_state_dict(stil_names(state, "w"), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    clip = torch.randn(2, 3, 3, 128, 128)
    with torch.no_grad():
        plain = Plain(state, 3, layers)(clip)
        torch.testing.assert_close(network(clip), plain, rtol=1e-3, atol=1e-4)
    assert (plain[0] - plain[1]).abs().max() > 1e-3


def test_every_tensor_of_the_published_size_has_its_place() -> None:
    found = stil_names(released_state(64, (3, 4, 6, 3), "meta"), "w")
    with torch.device("meta"):
        mine = create_model("stil").state_dict()
    shapes = {n: v.shape for n, v in mine.items() if not n.endswith("num_batches_tracked")}
    assert {n: v.shape for n, v in found.items()} == shapes


def test_what_is_unknown_or_missing_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"unknown tensor 'base_model.layer1.0.conv9.weight'"):
        stil_names({"base_model.layer1.0.conv9.weight": torch.zeros(1)}, "w")
    with pytest.raises(CheckpointError, match=r"conv1_a.weight' lacks its spatial twin"):
        stil_names({"base_model.layer1.0.conv1_a.weight": torch.zeros(1, 1, 1, 1)}, "w")
