"""GenD's two other encoders under our names.

    PE         feature_extractor.backbone.blocks.0. ...    timm's names behind it, made for 336 px
    DINOv3     feature_extractor.backbone.layer.0. ...     transformers' names

Both end in model.linear. Names were read in github.com/yermandy/GenD, src/hf/modeling_gend.py
(b26c2b2), and in transformers' modeling_dinov3_vit.py (015e687).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unmask.models.weights import resample_positions
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.checkpoint import weights_in

Tensors = dict[str, Tensor]

BACKBONE, HEAD = "feature_extractor.backbone.", "model.linear."
# Patches across the 224 px that GenD gives its PE encoder, whose patches are of 14 px.
PE_GRID = 16
# transformers' DINOv3 -> timm's Eva
DINO_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
}
DINO_BLOCK = {
    **{f"norm{n}.{word}": f"norm{n}.{word}" for n in (1, 2) for word in ("weight", "bias")},
    **{f"layer_scale{n}.lambda1": f"gamma_{n}" for n in (1, 2)},
    **{f"attention.o_proj.{word}": f"attn.proj.{word}" for word in ("weight", "bias")},
    **{f"mlp.up_proj.{word}": f"mlp.fc1.{word}" for word in ("weight", "bias")},
    **{f"mlp.down_proj.{word}": f"mlp.fc2.{word}" for word in ("weight", "bias")},
}
LAYER = re.compile(r"layer\.(\d+)\.(.+)")
# Of pre-training alone.
UNUSED = "embeddings.mask_token"


def gend_pe_tensors(data: bytes, where: str) -> Tensors:
    """GenD's PE-Core-L/14 as `encoder` at 224 px. Raises CheckpointError."""
    return gend_pe_names(weights_in(data, Path(where)), where)


def gend_pe_names(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    """Names, and positions for another grid of patches. Raises CheckpointError naming the first
    unknown tensor.
    """
    backbone, found = _parted(tensors, where)
    for name, value in backbone.items():
        if name == "pos_embed":
            value = resample_positions(value, PE_GRID, prefix=1)
        found[f"encoder.{name}"] = value
    return found


def gend_dinov3_tensors(data: bytes, where: str) -> Tensors:
    """GenD's DINOv3 ViT-L/16 as `encoder`. Raises CheckpointError."""
    return gend_dinov3_names(weights_in(data, Path(where)), where)


def gend_dinov3_names(tensors: Mapping[str, Tensor], where: str) -> Tensors:
    """Names; query, key and value become one matrix. Their biases, which Meta's networks of this
    size have at 0 and GenD does not train, are left out. Raises CheckpointError naming the first
    unknown or missing tensor, or a bias that is not 0.
    """
    backbone, found = _parted(tensors, where)
    for name, value in backbone.items():
        match = LAYER.fullmatch(name)
        number, part = match.groups() if match else ("", "")
        if name in DINO_NAMES:
            found[f"encoder.{DINO_NAMES[name]}"] = value
        elif part in DINO_BLOCK:
            found[f"encoder.blocks.{number}.{DINO_BLOCK[part]}"] = value
        elif part == "attention.q_proj.weight":
            three = [backbone.get(name.replace("q_proj", f"{one}_proj")) for one in "qkv"]
            if any(one is None for one in three):
                raise CheckpointError(f"{where}: {name!r:.80} lacks its key or value")
            found[f"encoder.blocks.{number}.attn.qkv.weight"] = torch.cat(three)
        elif re.fullmatch(r"attention\.[qkv]_proj\.bias", part):
            if not value.is_meta and value.any():
                raise CheckpointError(f"{where}: {name!r:.80} is not 0, and has no place here")
        elif name != UNUSED and not re.fullmatch(r"attention\.[kv]_proj\.weight", part):
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found


def _parted(tensors: Mapping[str, Tensor], where: str) -> tuple[Tensors, Tensors]:
    """The encoder's tensors by its own names, and the head's by ours."""
    backbone, head = {}, {}
    for name, value in tensors.items():
        if name.startswith(BACKBONE):
            backbone[name.removeprefix(BACKBONE)] = value
        elif name.startswith(HEAD):
            head[f"head.{name.removeprefix(HEAD)}"] = value
        else:
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return backbone, head
