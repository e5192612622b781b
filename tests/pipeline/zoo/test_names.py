"""Released state dicts under our names: plain forwards of random weights that carry the makers'
names, and every tensor of the published sizes.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tests.models.test_lite import same_conv
from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.names import clip_names, effort_names, gend_names, sbi_names

# (kernel, expansion, channels, repeats, stride) of EfficientNet-B4's stages, Tan and Le 2019
B4 = (
    (3, 1, 24, 2, 1),
    (3, 6, 32, 4, 2),
    (5, 6, 56, 4, 2),
    (3, 6, 112, 6, 2),
    (5, 6, 160, 6, 1),
    (5, 6, 272, 8, 2),
    (3, 6, 448, 2, 1),
)


def conv(*shape: int) -> Tensor:
    return torch.randn(*shape) / math.sqrt(shape[1] * shape[2] * shape[3])


def norm_of(width: int, name: str) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.rand(width) + 0.5,
        f"{name}.bias": 0.1 * torch.randn(width),
        f"{name}.running_mean": 0.1 * torch.randn(width),
        f"{name}.running_var": torch.rand(width) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(1),
    }


def sbi_state() -> dict[str, Tensor]:
    """Random weights of EfficientNet-B4 by the names of the self-blending release."""
    state = {"_conv_stem.weight": conv(48, 3, 3, 3), **norm_of(48, "_bn0")}
    inputs, number = 48, 0
    for kernel, expansion, channels, repeats, _ in B4:
        for _repeat in range(repeats):
            block, wide = f"_blocks.{number}.", inputs * expansion
            if expansion > 1:
                state[block + "_expand_conv.weight"] = conv(wide, inputs, 1, 1)
                state |= norm_of(wide, block + "_bn0")
            state[block + "_depthwise_conv.weight"] = conv(wide, 1, kernel, kernel)
            state |= norm_of(wide, block + "_bn1")
            squeezed = max(1, inputs // 4)
            state[block + "_se_reduce.weight"] = conv(squeezed, wide, 1, 1)
            state[block + "_se_reduce.bias"] = 0.1 * torch.randn(squeezed)
            state[block + "_se_expand.weight"] = conv(wide, squeezed, 1, 1)
            state[block + "_se_expand.bias"] = 0.1 * torch.randn(wide)
            state[block + "_project_conv.weight"] = conv(channels, wide, 1, 1)
            state |= norm_of(channels, block + "_bn2")
            inputs, number = channels, number + 1
    state |= {"_conv_head.weight": conv(1792, 448, 1, 1), **norm_of(1792, "_bn1")}
    state |= {"_fc.weight": torch.randn(2, 1792) / 40, "_fc.bias": torch.randn(2)}
    return {f"net.{name}": value for name, value in state.items()}


def plain_b4(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-B4 written out with torch's functions, by the release's own tensor names."""

    def w(name: str) -> Tensor:
        return state[f"net.{name}"]

    def norm(x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(w(f"{name}.{part}") for part in parts), eps=1e-3)

    x = F.silu(norm(same_conv(x, w("_conv_stem.weight"), 2), "_bn0"))
    number = 0
    for _, expansion, channels, repeats, stride in B4:
        for repeat in range(repeats):
            block, entered = f"_blocks.{number}.", x
            if expansion > 1:
                x = F.silu(norm(F.conv2d(x, w(block + "_expand_conv.weight")), block + "_bn0"))
            kernel, step = w(block + "_depthwise_conv.weight"), 1 if repeat else stride
            x = F.silu(norm(same_conv(x, kernel, step, len(kernel)), block + "_bn1"))
            gate = x.mean((2, 3), keepdim=True)
            for part in ("_se_reduce", "_se_expand"):
                gate = F.conv2d(gate, w(f"{block}{part}.weight"), w(f"{block}{part}.bias"))
                gate = F.silu(gate) if part == "_se_reduce" else torch.sigmoid(gate)
            x = norm(F.conv2d(x * gate, w(block + "_project_conv.weight")), block + "_bn2")
            if step == 1 and entered.shape[1] == channels:
                x = x + entered
            number += 1
    x = F.silu(norm(F.conv2d(x, w("_conv_head.weight")), "_bn1")).mean((2, 3))
    return x @ w("_fc.weight").T + w("_fc.bias")


def test_self_blended_b4_gives_the_logits_of_a_plain_forward() -> None:
    torch.manual_seed(0)
    state = sbi_state()
    options = {"backbone": "tf_efficientnet_b4", "size": 96, "norm": "unit"}
    network = create_model("lite", **options).eval()
    network.load_state_dict(sbi_names(state, "FFraw.tar"))
    pictures = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        logits, plain = network(pictures[:, None]), plain_b4(state, pictures)
    assert plain.std() > 1e-3
    torch.testing.assert_close(logits, plain, rtol=1e-3, atol=1e-4)


def clip_state(layers: int, width: int, tokens: int, patch: int, device: str = "cpu"):
    """CLIP's vision model by the names of transformers."""

    def new(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device) * 0.2

    state = {
        "embeddings.class_embedding": new(width),
        "embeddings.position_embedding.weight": new(tokens, width),
        "embeddings.patch_embedding.weight": new(width, 3, patch, patch),
    }
    for name in ("pre_layrnorm", "post_layernorm"):
        state |= {f"{name}.weight": 1 + new(width), f"{name}.bias": new(width)}
    for layer in range(layers):
        start = f"encoder.layers.{layer}."
        for name in ("layer_norm1", "layer_norm2"):
            state |= {f"{start}{name}.weight": 1 + new(width), f"{start}{name}.bias": new(width)}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            name = f"{start}self_attn.{name}"
            state |= {f"{name}.weight": new(width, width), f"{name}.bias": new(width)}
        for name, (outputs, inputs) in {
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }.items():
            state |= {f"{start}{name}.weight": new(outputs, inputs)}
            state |= {f"{start}{name}.bias": new(outputs)}
    return state


def plain_clip(state: dict[str, Tensor], x: Tensor, layers: int, heads: int) -> Tensor:
    """CLIP's pooled output written out: pre-norm blocks, x * sigmoid(1.702 x), class token."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5
        )

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    kernel = state["embeddings.patch_embedding.weight"]
    patches = F.conv2d(x, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    token = state["embeddings.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([token, patches], 1) + state["embeddings.position_embedding.weight"]
    x = norm(x, "pre_layrnorm")
    for layer in range(layers):
        start = f"encoder.layers.{layer}."
        y = norm(x, start + "layer_norm1")
        q, k, v = (
            linear(y, f"{start}self_attn.{part}_proj").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in "qkv"
        )
        mixed = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), start + "self_attn.out_proj")
        y = linear(norm(x, start + "layer_norm2"), start + "mlp.fc1")
        x = x + linear(y * torch.sigmoid(1.702 * y), start + "mlp.fc2")
    return norm(x[:, 0], "post_layernorm")


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def test_clips_names_give_timms_network_the_pooled_output_of_a_plain_forward() -> None:
    torch.manual_seed(0)
    state = clip_state(layers=2, width=32, tokens=17, patch=8)
    network = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=4,
        num_classes=0,
        pre_norm=True,
        act_layer=QuickGELU,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    ).eval()
    named = clip_names(state | {"embeddings.position_ids": torch.arange(17)}, "w")
    network.load_state_dict({name.removeprefix("encoder."): v for name, v in named.items()})
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            network(pictures), plain_clip(state, pictures, 2, 4), rtol=1e-4, atol=1e-5
        )


def with_low_rank(state: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The same attention weights in Effort's parts; their sum is the weight again."""
    found = {}
    for name, value in state.items():
        if "self_attn" not in name or name.endswith("bias"):
            found[name] = value
            continue
        start = name.removesuffix("weight")
        width = len(value)
        on = {"device": value.device}
        u, s, v = (torch.rand(*n, **on) for n in ((width, rank), (rank,), (rank, width)))
        kept = {"U_residual": u, "S_residual": s, "V_residual": v}
        fixed = {"U_r": value, "S_r": s, "V_r": value}
        parts = {"weight_main": value - u @ torch.diag(s) @ v} | kept | fixed
        found |= {start + part: tensor for part, tensor in parts.items()}
    return found


def test_efforts_low_rank_change_is_added_up() -> None:
    torch.manual_seed(0)
    state = clip_state(layers=2, width=16, tokens=5, patch=4)
    head = {"head.weight": torch.randn(2, 16), "head.bias": torch.randn(2)}
    backbone = {f"backbone.{name}": v for name, v in with_low_rank(state, 1).items()}
    found = effort_names({f"module.{n}": v for n, v in (backbone | head).items()}, "w")
    expected = clip_names(state, "w") | head
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


def published(maker: str) -> dict[str, Tensor]:
    """CLIP ViT-L/14's tensors without their values, as each maker names them."""
    state = clip_state(24, 1024, 257, 14, device="meta")
    weight, bias = torch.empty(2, 1024, device="meta"), torch.empty(2, device="meta")
    if maker == "gend":
        named = {f"feature_extractor.vision_model.{name}": v for name, v in state.items()}
        unused = torch.empty(768, 1024, device="meta")
        named["feature_extractor.visual_projection.weight"] = unused
        return named | {"model.linear.weight": weight, "model.linear.bias": bias}
    named = {f"backbone.{name}": v for name, v in with_low_rank(state, 1).items()}
    return named | {"head.weight": weight, "head.bias": bias}


@pytest.mark.parametrize(("maker", "convert"), [("gend", gend_names), ("effort", effort_names)])
def test_every_tensor_of_the_published_size_has_its_place(maker, convert) -> None:
    with torch.device("meta"):
        network = create_model("encoder")
    found = convert(published(maker), "w")
    assert {n: v.shape for n, v in found.items()} == {
        n: v.shape for n, v in network.state_dict().items()
    }


@pytest.mark.parametrize("convert", [sbi_names, gend_names, effort_names])
def test_a_tensor_nobody_knows_is_named(convert) -> None:
    with pytest.raises(CheckpointError, match=r"unknown tensor 'something.weight'"):
        convert({"something.weight": torch.zeros(1)}, "w")


def test_a_part_that_is_missing_is_named() -> None:
    state = clip_state(layers=1, width=8, tokens=5, patch=4)
    del state["encoder.layers.0.self_attn.k_proj.weight"]
    with pytest.raises(CheckpointError, match=r"q_proj.weight' lacks its key or value"):
        clip_names(state, "w")
    parts = with_low_rank(clip_state(layers=1, width=8, tokens=5, patch=4), 1)
    del parts["encoder.layers.0.self_attn.k_proj.S_residual"]
    with pytest.raises(CheckpointError, match=r"k_proj lacks a part of its low-rank change"):
        effort_names({f"backbone.{name}": v for name, v in parts.items()}, "w")
