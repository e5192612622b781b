"""GenD's PE and DINOv3 under our names: the features of a plain forward of random weights."""

from __future__ import annotations

import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from torch import Tensor, nn

from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo import gend_names
from unmask.pipeline.zoo.gend_names import gend_dinov3_names, gend_pe_names
from unmask.pipeline.zoo.releases import RELEASES

WIDTH, LAYERS, HEADS, REGISTERS, PATCH = 32, 2, 2, 4, 8
BACKBONE = "feature_extractor.backbone."


def dino_state() -> dict[str, Tensor]:
    """DINOv3 by the names of transformers, with GenD's head."""

    def new(*shape: int) -> Tensor:
        return torch.randn(*shape) * 0.2

    state = {
        "embeddings.cls_token": new(1, 1, WIDTH),
        "embeddings.mask_token": new(1, 1, WIDTH),
        "embeddings.register_tokens": new(1, REGISTERS, WIDTH),
        "embeddings.patch_embeddings.weight": new(WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.bias": new(WIDTH),
        "norm.weight": 1 + new(WIDTH),
        "norm.bias": new(WIDTH),
    }
    for layer in range(LAYERS):
        for name, (outputs, inputs) in {
            **{f"attention.{one}_proj": (WIDTH, WIDTH) for one in "qkvo"},
            "mlp.up_proj": (4 * WIDTH, WIDTH),
            "mlp.down_proj": (WIDTH, 4 * WIDTH),
        }.items():
            state[f"layer.{layer}.{name}.weight"] = new(outputs, inputs)
            if name != "attention.k_proj":
                bias = torch.zeros(outputs) if name[-6:-5] in "qv" else new(outputs)
                state[f"layer.{layer}.{name}.bias"] = bias
        for n in (1, 2):
            state[f"layer.{layer}.norm{n}.weight"] = 1 + new(WIDTH)
            state[f"layer.{layer}.norm{n}.bias"] = new(WIDTH)
            state[f"layer.{layer}.layer_scale{n}.lambda1"] = 1 + new(WIDTH)
    return state


def released(backbone: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    head = {"model.linear.weight": torch.randn(2, width), "model.linear.bias": torch.randn(2)}
    return {BACKBONE + name: value for name, value in backbone.items()} | head


def plain_dino(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """transformers' DINOv3 written out: rotary positions of the patches' centres on queries and
    keys, prefix tokens as they are; the class token after the last norm.
    """

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def rotated(x: Tensor) -> Tensor:
        first, last = x.chunk(2, -1)
        return torch.cat((-last, first), -1)

    patches = F.conv2d(
        x,
        state["embeddings.patch_embeddings.weight"],
        state["embeddings.patch_embeddings.bias"],
        stride=PATCH,
    )
    side = patches.shape[-1]
    tokens = [state["embeddings.cls_token"], state["embeddings.register_tokens"]]
    prefix = torch.cat(tokens, 1).expand(len(x), -1, -1)
    x = torch.cat([prefix, patches.flatten(2).transpose(1, 2)], 1)
    middle = (torch.arange(side) + 0.5) / side * 2 - 1
    places = torch.stack(torch.meshgrid(middle, middle, indexing="ij"), -1).flatten(0, 1)
    size = WIDTH // HEADS
    inverse = 1 / 100.0 ** torch.arange(0, 1, 4 / size)
    angles = (2 * math.pi * places[:, :, None] * inverse).flatten(1, 2).tile(2)
    count = prefix.shape[1]

    def turned(part: Tensor) -> Tensor:
        ahead, behind = part[..., :count, :], part[..., count:, :]
        return torch.cat([ahead, behind * angles.cos() + rotated(behind) * angles.sin()], -2)

    for layer in range(LAYERS):
        start = f"layer.{layer}."
        y = norm(x, start + "norm1")
        q, k, v = (
            linear(y, f"{start}attention.{one}_proj").unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for one in "qkv"
        )
        weights = torch.softmax(turned(q) @ turned(k).transpose(-1, -2) / math.sqrt(size), -1)
        y = linear((weights @ v).transpose(1, 2).flatten(2), start + "attention.o_proj")
        x = x + y * state[start + "layer_scale1.lambda1"]
        y = linear(
            F.gelu(linear(norm(x, start + "norm2"), start + "mlp.up_proj")), start + "mlp.down_proj"
        )
        x = x + y * state[start + "layer_scale2.lambda1"]
    return norm(x, "norm")[:, 0]


def small_dinov3() -> Eva:
    """timm's vit_large_patch16_dinov3, small."""
    return Eva(
        img_size=32,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=LAYERS,
        num_heads=HEADS,
        num_classes=0,
        global_pool="token",
        qkv_bias=False,
        init_values=1e-5,
        rope_type="dinov3",
        rope_temperature=100,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        rope_rotate_half=True,
        num_reg_tokens=REGISTERS,
        use_fc_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    ).eval()


def encoder_of(named: dict[str, Tensor]) -> dict[str, Tensor]:
    start = "encoder."
    return {name.removeprefix(start): v for name, v in named.items() if name.startswith(start)}


def test_dinov3s_names_give_timms_network_the_class_token_of_a_plain_forward() -> None:
    torch.manual_seed(0)
    state, network = dino_state(), small_dinov3()
    named = gend_dinov3_names(released(state, WIDTH), "w")
    network.load_state_dict(encoder_of(named))
    assert {"head.weight", "head.bias"} < named.keys()
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = plain_dino(state, pictures)
        torch.testing.assert_close(network(pictures), plain, rtol=1e-3, atol=1e-4)
    assert plain.std() > 0.1


def test_a_bias_that_has_no_place_is_refused_unless_it_is_zero() -> None:
    state = dino_state()
    state["layer.1.attention.v_proj.bias"][3] = 0.5
    with pytest.raises(CheckpointError, match=r"layer.1.attention.v_proj.bias' is not 0"):
        gend_dinov3_names(released(state, WIDTH), "w")


@pytest.mark.parametrize("name", ["gend-pe", "gend-dinov3"])
def test_every_tensor_of_the_published_size_has_its_place(name: str) -> None:
    """Names of 24 layers, against the network of the release's row."""
    release = RELEASES[name]
    with torch.device("meta"):
        network = create_model(release.model, **release.options)
        if name == "gend-pe":
            theirs = timm.create_model("vit_pe_core_large_patch14_336", num_classes=0)
            assert theirs.pos_embed.shape[1] == 1 + 24**2
            convert, state = gend_pe_names, theirs.state_dict()
        else:
            convert, state = gend_dinov3_names, dino_state_of(1024, 24)
    named = convert(released(state, 1024), "w")
    assert {n: v.shape for n, v in named.items()} == {
        n: v.shape for n, v in network.state_dict().items()
    }


def dino_state_of(width: int, layers: int) -> dict[str, Tensor]:
    """Shapes alone, of patches of 16 px."""
    found = {}
    for name, value in dino_state().items():
        shape = [n // WIDTH * width if n >= WIDTH else n for n in value.shape]
        shape = [16 if n == PATCH else n for n in shape]
        if name.startswith("layer.0."):
            for layer in range(layers):
                found[name.replace("layer.0.", f"layer.{layer}.")] = torch.empty(shape)
        elif not name.startswith("layer."):
            found[name] = torch.empty(shape)
    return found


def test_pe_at_another_size_is_what_its_positions_resampled_at_each_picture_give(
    monkeypatch,
) -> None:
    """The release resamples at each picture (dynamic_img_size); ours once."""
    torch.manual_seed(0)
    monkeypatch.setattr(gend_names, "PE_GRID", 4)
    name = "vit_pe_core_tiny_patch16_384"
    theirs = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
    ours = timm.create_model(name, num_classes=0, img_size=64).eval()
    with torch.no_grad():
        theirs.pos_embed.normal_()
    state = {n: v for n, v in theirs.state_dict().items() if not n.startswith("head.")}
    ours.load_state_dict(encoder_of(gend_pe_names(released(state, 192), "w")))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures), theirs(pictures), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("convert", [gend_dinov3_names, gend_pe_names])
def test_a_tensor_nobody_knows_is_named(convert) -> None:
    with pytest.raises(CheckpointError, match=r"unknown tensor 'something.weight'"):
        convert({"something.weight": torch.zeros(1)}, "w")


def test_a_part_that_is_missing_or_unknown_is_named() -> None:
    state = dino_state()
    del state["layer.0.attention.v_proj.weight"]
    with pytest.raises(CheckpointError, match=r"q_proj.weight' lacks its key or value"):
        gend_dinov3_names(released(state, WIDTH), "w")
    with pytest.raises(CheckpointError, match=r"unknown tensor 'layer.0.mlp.gate_proj.weight'"):
        gend_dinov3_names(released({"layer.0.mlp.gate_proj.weight": torch.zeros(1)}, WIDTH), "w")
