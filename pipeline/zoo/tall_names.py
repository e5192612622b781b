"""TALL-Swin's released code under our names: layers.0.blocks.1.attn.qkv.weight and so on.

Names were read in github.com/rainy-xu/TALL4Deepfake, my_models/tall_swin.py (8a20dc5), Microsoft's
Swin with a vector per frame. There a stage ends by merging patches, in timm's the next one begins
so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.checkpoint import weights_in

# Worked out again from the windows when the network is built.
COUNTED = re.compile(r"layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)")
MERGE = re.compile(r"layers\.(\d+)\.(downsample\..+)")
KEPT = re.compile(
    r"patch_embed\.(proj|norm)\.(weight|bias)|norm\.(weight|bias)|layers\.\d+\.blocks\.\d+\."
    r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)|layers\.\d+\.blocks\."
    r"\d+\.attn\.relative_position_bias_table"
)


def tall_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """A checkpoint of the released training as `tall_swin`. Raises CheckpointError."""
    return tall_names(weights_in(data, Path(where)), where)


def tall_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Names alone. Raises CheckpointError naming the first unknown tensor."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if COUNTED.fullmatch(name):
            continue
        if name == "frame_pos_embed":
            found["frame_embedding"] = value
        elif name in ("head.weight", "head.bias"):
            found[name] = value
        elif merge := MERGE.fullmatch(name):
            found[f"backbone.layers.{int(merge[1]) + 1}.{merge[2]}"] = value
        elif KEPT.fullmatch(name):
            found[f"backbone.{name}"] = value
        else:
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found
