"""TALL-Swin's released names: a plain forward of random weights that carry them, in Microsoft's
layout, and every tensor of the published size.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.tall_names import tall_names

State = dict[str, Tensor]


def released_state(
    width: int, depths: tuple[int, ...], windows: tuple[int, ...], device: str = "cpu"
) -> State:
    """Random weights by the release's names: 128, (2, 2, 18, 2) and (14, 14, 14, 7) are the
    published ones.
    """
    state: State = {}

    def new(name: str, *shape: int) -> None:
        fan = math.prod(shape[1:])
        state[name] = torch.randn(*shape, device=device) / math.sqrt(fan)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = 0.5 + torch.rand(channels, device=device)
        new(f"{name}.bias", channels)

    def linear(name: str, outputs: int, inputs: int) -> None:
        new(f"{name}.weight", outputs, inputs)
        new(f"{name}.bias", outputs)

    new("patch_embed.proj.weight", width, 3, 4, 4)
    new("patch_embed.proj.bias", width)
    norm("patch_embed.norm", width)
    new("frame_pos_embed", 1, 4, width)
    for stage, (depth, window) in enumerate(zip(depths, windows, strict=True)):
        channels = width * 2**stage
        for number in range(depth):
            block = f"layers.{stage}.blocks.{number}"
            norm(f"{block}.norm1", channels)
            table = ((2 * window - 1) ** 2, channels // 32)
            new(f"{block}.attn.relative_position_bias_table", *table)
            state[f"{block}.attn.relative_position_index"] = torch.zeros(
                window**2, window**2, dtype=torch.int64, device=device
            )
            linear(f"{block}.attn.qkv", 3 * channels, channels)
            linear(f"{block}.attn.proj", channels, channels)
            norm(f"{block}.norm2", channels)
            linear(f"{block}.mlp.fc1", 4 * channels, channels)
            linear(f"{block}.mlp.fc2", channels, 4 * channels)
        if stage + 1 < len(depths):
            new(f"layers.{stage}.downsample.reduction.weight", 2 * channels, 4 * channels)
            norm(f"layers.{stage}.downsample.norm", 4 * channels)
    last = width * 2 ** (len(depths) - 1)
    norm("norm", last)
    linear("head", 2, last)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(1, device=device)
    return state


class Plain:
    """The release written out on its own names, place by place where it is short."""

    def __init__(self, state: State, window: int) -> None:
        self.state, self.window = state, window

    def linear(self, x: Tensor, name: str) -> Tensor:
        x = x @ self.state[f"{name}.weight"].T
        return x + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else x

    def norm(self, x: Tensor, name: str) -> Tensor:
        parts = (self.state[f"{name}.{word}"] for word in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], *parts)

    def attention(self, x: Tensor, block: str, shift: int) -> Tensor:
        """Every place attends to those of its window; x (H, W, C)."""
        side, channels = x.shape[0], x.shape[-1]
        window = min(self.window, side)
        heads = channels // 32
        table = self.state[f"{block}.attn.relative_position_bias_table"]
        places = torch.tensor([(y, x) for y in range(side) for x in range(side)])
        moved = (places - shift) % side  # rolled up and to the left
        where = moved // window
        # rolled over the border: neighbours in the window, not in the picture
        region = (places < shift).long() if shift else torch.zeros_like(places)
        together = (where[:, None] == where[None]).all(-1) & (region[:, None] == region[None]).all(
            -1
        )
        offset = (moved % window)[:, None] - (moved % window)[None] + window - 1
        bias = table[(offset[..., 0] * (2 * window - 1) + offset[..., 1]).clamp(0, len(table) - 1)]
        q, k, v = self.linear(x.flatten(0, 1), f"{block}.attn.qkv").chunk(3, -1)
        q, k, v = (t.unflatten(-1, (heads, 32)).transpose(0, 1) for t in (q, k, v))
        scores = q @ k.transpose(1, 2) / math.sqrt(32) + bias.permute(2, 0, 1)
        scores = scores.masked_fill(~together, -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        return self.linear(mixed, f"{block}.attn.proj").view_as(x)

    def __call__(self, frames: Tensor, depths: tuple[int, ...]) -> Tensor:
        """(4, 3, S, S) -> logits (2,)."""
        top, bottom = torch.cat([*frames[:2]], -1), torch.cat([*frames[2:]], -1)
        picture = torch.cat([top, bottom], -2)[None]
        kernel, shift = (self.state[f"patch_embed.proj.{word}"] for word in ("weight", "bias"))
        x = F.conv2d(picture, kernel, shift, stride=4)[0].permute(1, 2, 0)  # (H, W, C)
        x = self.norm(x, "patch_embed.norm").clone()
        half = x.shape[0] // 2
        for frame in range(4):
            y, z = frame // 2 * half, frame % 2 * half
            x[y : y + half, z : z + half] += self.state["frame_pos_embed"][0, frame]
        for stage, depth in enumerate(depths):
            for number in range(depth):
                block = f"layers.{stage}.blocks.{number}"
                shift = self.window // 2 if number % 2 and x.shape[0] > self.window else 0
                x = x + self.attention(self.norm(x, f"{block}.norm1"), block, shift)
                y = F.gelu(self.linear(self.norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
                x = x + self.linear(y, f"{block}.mlp.fc2")
            if stage + 1 < len(depths):
                name = f"layers.{stage}.downsample"
                four = [x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]]
                x = self.linear(self.norm(torch.cat(four, -1), f"{name}.norm"), f"{name}.reduction")
        return self.linear(self.norm(x, "norm").mean((0, 1)), "head")


def test_a_checkpoint_of_the_release_gives_the_logits_of_a_plain_forward() -> None:
    torch.manual_seed(0)
    depths, window = (2, 2), 7
    state = released_state(32, depths, (window, window))
    network = create_model(
        "tall_swin", clips=2, width=32, layers="2-2", size=28, window=window
    ).eval()
    network.load_state_dict(tall_names(state, "w"))
    clip = torch.randn(1, 8, 3, 28, 28)
    with torch.no_grad():
        plain = torch.stack([Plain(state, window)(clip[0, k : k + 4], depths) for k in (0, 4)])
        torch.testing.assert_close(network(clip)[0], plain.mean(0), rtol=1e-3, atol=1e-4)
    assert (plain[0] - plain[1]).abs().max() > 1e-3


def test_every_tensor_of_the_published_size_has_its_place() -> None:
    found = tall_names(released_state(128, (2, 2, 18, 2), (14, 14, 14, 7), "meta"), "w")
    with torch.device("meta"):
        mine = create_model("tall_swin", double_resize=True).state_dict()
    assert {n: v.shape for n, v in found.items()} == {n: v.shape for n, v in mine.items()}


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"unknown tensor 'layers.0.blocks.0.attn.extra'"):
        tall_names({"layers.0.blocks.0.attn.extra": torch.zeros(1)}, "w")
