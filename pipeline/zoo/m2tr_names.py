"""M2TR's released code under our names, variant fft: layers.0.2.conv4.0.weight and so on.

Names were read in github.com/wdrink/PyDeepFakeDet, PyDeepFakeDet/models/m2tr.py (5a852f6) and its
modules. The backbone's own classifier, which the release keeps and never uses, is left out.
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

LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(\w+)")
# released part of a layer, without weight or bias -> ours; those of several become one
PARTS = {
    **{f"0.t.attention.output_linear.{n}": f"transformer.attention.out.{n}" for n in (0, 1)},
    **{f"0.t.feed_forward.conv.{n}": f"transformer.feed.{n}" for n in (0, 1, 3, 4)},
    **{f"1.feed_forward.conv.{n}": f"feed.{n}" for n in (0, 1, 3, 4)},
    "2.conv1": "cross.query",
    **{f"2.conv4.{n}": f"out.{n}" for n in (0, 1)},
}
QKV = tuple(f"0.t.attention.{word}_embedding" for word in ("query", "key", "value"))
KEY_VALUE = ("2.conv2", "2.conv3")
JOINED = {QKV: "transformer.attention.qkv", KEY_VALUE: "cross.key_value"}


def m2tr_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """A checkpoint of the release as `m2tr` with `variant=fft`. Raises CheckpointError."""
    return m2tr_names(weights_in(data, Path(where)), where)


def m2tr_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Names alone. Raises CheckpointError naming the first unknown or missing tensor."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.startswith("classifier.projection."):
            found[f"head.{name.rpartition('.')[2]}"] = value
            continue
        if name.startswith("model."):
            ours = timm_name(name.removeprefix("model."), B4_STAGES)
            if ours is not None:
                found[f"backbone.{ours}"] = value
            elif not name.startswith("model._fc."):
                raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
            continue
        match = LAYER.fullmatch(name)
        number, part, word = match.groups() if match else ("", "", "")
        stage = f"stages.{number}"
        if part in PARTS:
            found[f"{stage}.{PARTS[part]}.{word}"] = value
        elif (part, word) == ("1.filter", "complex_weight"):
            # (H, W, C, 2) there, (C, H, W, 2) here
            found[f"{stage}.filter.weight"] = value.permute(2, 0, 1, 3).contiguous()
        elif group := next((parts for parts in JOINED if part in parts), None):
            several = [tensors.get(f"layers.{number}.{one}.{word}") for one in group]
            if any(one is None for one in several):
                raise CheckpointError(f"{where}: {name!r:.80} lacks what belongs beside it")
            found[f"{stage}.{JOINED[group]}.{word}"] = torch.cat(several)
        else:
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found
