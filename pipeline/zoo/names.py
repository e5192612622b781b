"""Released state dicts of PyTorch under our names: what each maker calls its tensors.

    SBI       net._blocks.0._bn1.weight            EfficientNet-PyTorch's names behind `net.`
    GenD      feature_extractor.vision_model. ...  transformers' CLIP behind it, head model.linear
    Effort    backbone.encoder.layers.0. ...       the same CLIP, attention weights in four parts

Names were read in the makers' code (github.com/mapooon/SelfBlendedImages src/model.py, 249281e;
github.com/yermandy/GenD src/hf/modeling_gend.py and src/model/effort/model.py, b26c2b2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unmask.models.weights import B4_STAGES, timm_name
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.checkpoint import weights_in

Tensors = dict[str, Tensor]

# transformers' CLIP vision model -> timm's Vision Transformer
CLIP_NAMES = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding.weight": "pos_embed",
    "embeddings.patch_embedding.weight": "patch_embed.proj.weight",
    "pre_layrnorm.weight": "norm_pre.weight",
    "pre_layrnorm.bias": "norm_pre.bias",
    "post_layernorm.weight": "norm.weight",
    "post_layernorm.bias": "norm.bias",
}
CLIP_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
# What CLIP's files hold beside the vision model's weights.
UNUSED = re.compile(r"(.*\.)?(visual_projection\.weight|position_ids)")


def sbi_tensors(data: bytes, where: str) -> Tensors:
    """Self-blended images' EfficientNet-B4 as `lite`. Raises CheckpointError."""
    return sbi_names(weights_in(data, Path(where)), where)


def sbi_names(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    """Names alone. Raises CheckpointError naming the first unknown tensor."""
    found: Tensors = {}
    for name, value in tensors.items():
        bare = name.removeprefix("net.")
        head = bare.removeprefix("_fc.") if bare.startswith("_fc.") else ""
        ours = f"head.{head}" if head else _behind("backbone.", timm_name(bare, B4_STAGES))
        if ours is None:
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
        found[ours] = value
    return found


def _behind(prefix: str, name: str | None) -> str | None:
    return None if name is None else prefix + name


def gend_tensors(data: bytes, where: str) -> Tensors:
    """GenD's CLIP ViT-L/14 as `encoder`. Raises CheckpointError."""
    return gend_names(weights_in(data, Path(where)), where)


def gend_names(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    """Names alone. Raises CheckpointError naming the first unknown tensor."""
    clip, found = {}, {}
    for name, value in tensors.items():
        if name.startswith("feature_extractor.vision_model."):
            clip[name.removeprefix("feature_extractor.vision_model.")] = value
        elif name.startswith("model.linear."):
            found[f"head.{name.removeprefix('model.linear.')}"] = value
        elif not UNUSED.fullmatch(name):
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found | clip_names(clip, where)


def effort_tensors(data: bytes, where: str) -> Tensors:
    """Effort's CLIP ViT-L/14 as `encoder`, its low-rank change added up. Raises CheckpointError."""
    return effort_names(weights_in(data, Path(where)), where)


def effort_names(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    """Names, and W = weight_main + U diag(S) V of each attention projection (Yan et al. 2025,
    equation 4). Raises CheckpointError naming the first unknown tensor.
    """
    clip, found = {}, {}
    for name, value in tensors.items():
        bare = name.removeprefix("module.")
        if bare.startswith("head."):
            found[bare] = value
        elif bare.startswith("backbone."):
            clip[bare.removeprefix("backbone.")] = value
        else:
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found | clip_names(_added_up(clip, where), where)


def _added_up(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    found = {}
    for name, value in tensors.items():
        start, _, part = name.rpartition(".")
        if part == "weight_main":
            parts = [tensors.get(f"{start}.{letter}_residual") for letter in "USV"]
            if any(one is None for one in parts):
                raise CheckpointError(f"{where}: {start} lacks a part of its low-rank change")
            u, s, v = parts
            found[f"{start}.weight"] = value + (u * s) @ v  # (out, r) * (r) @ (r, in)
        elif not part.endswith(("_residual", "_r")):
            found[name] = value
    return found


def clip_names(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    """transformers' CLIP vision model -> `encoder.` and timm's names: query, key and value become
    one matrix. Raises CheckpointError naming the first unknown or missing tensor.
    """
    found: Tensors = {}
    for name, value in tensors.items():
        if UNUSED.fullmatch(name):
            continue
        if name in CLIP_NAMES:
            lead = {"cls_token": (1, 1, -1), "pos_embed": (1, *value.shape)}.get(CLIP_NAMES[name])
            found[f"encoder.{CLIP_NAMES[name]}"] = value.reshape(lead) if lead else value
            continue
        match = LAYER.fullmatch(name)
        number, part, word = match.groups() if match else ("", "", "")
        if part in CLIP_BLOCK:
            found[f"encoder.blocks.{number}.{CLIP_BLOCK[part]}.{word}"] = value
        elif part == "self_attn.q_proj":
            three = [tensors.get(name.replace("q_proj", f"{x}_proj")) for x in "qkv"]
            if any(one is None for one in three):
                raise CheckpointError(f"{where}: {name!r:.80} lacks its key or value")
            found[f"encoder.blocks.{number}.attn.qkv.{word}"] = torch.cat(three)
        elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found
