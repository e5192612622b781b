"""STIL's released code under our names: base_model.layer1.0.scconv.k3.0.weight and so on.

Names were read in github.com/Tencent/TFace, models/ops.py of its Face-Forgery-Detection/STIL
(9004edb). Ours enters both streams by one convolution, temporal half first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.checkpoint import weights_in

BLOCK = re.compile(r"(layer[1-4]\.\d+)\.(.+)")
# released part of a block, without weight or bias -> ours
PARTS = {
    "scconv.f_w.1": "sim.across.0",
    "scconv.f_w.2": "sim.across.1",
    "scconv.f_h.0": "sim.down.0",
    "scconv.f_h.1": "sim.down.1",
    "scconv.k3.0": "sim.conv.0",
    "scconv.k3.1": "sim.conv.1",
    "scconv.k4.0": "sim.last.0",
    "scconv.k4.1": "sim.last.1",
    "tim.conv1": "tim.reduce.0",
    "tim.bn1": "tim.reduce.1",
    "tim.conv_ht": "tim.rows.motion",
    "tim.conv_tw": "tim.columns.motion",
    "ism.conv": "ism.conv",
    "shift.conv": "shift.conv",
    "k1.0": "conv.0",
    "k1.1": "conv.1",
    "conv3": "leave.0",
    "bn3": "leave.1",
    "downsample.1": "shortcut.1",
    "downsample.2": "shortcut.2",
}
for _theirs, _ours in {"h": "rows", "v": "columns"}.items():
    for _place in (0, 1):
        PARTS[f"tim.{_theirs}tie_conv1.{_place}"] = f"tim.{_ours}.coarse.{_place}"
        PARTS[f"tim.{_theirs}tie_conv2.{_place}"] = f"tim.{_ours}.fine.{_place}"
for _theirs, _ours in {"ht": "rows", "tw": "columns"}.items():
    for _place in (0, 1):
        PARTS[f"tim.{_theirs}_up_conv.{_place}"] = f"tim.{_ours}.expand.{_place}"
ENTER = {"conv1_a": "enter.0", "bn1_a": "enter.1"}
# the last BatchNorm of the stem lies outside its sequence there
OUTSIDE = {"bn1": "stem.7", "fc": "head"} | {f"conv1.{n}": f"stem.{n}" for n in (0, 1, 3, 4, 6)}


def stil_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """A checkpoint of the released training as `stil`. Raises CheckpointError."""
    return stil_names(weights_in(data, Path(where)), where)


def stil_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Names alone. Raises CheckpointError naming the first unknown or missing tensor."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        start, _, word = name.removeprefix("base_model.").rpartition(".")
        match = BLOCK.fullmatch(start)
        block, part = match.groups() if match else ("", start)
        if block and part in ENTER:
            found[f"{block}.{ENTER[part]}.{word}"] = _both(tensors, name, word, where)
        elif block and part in ("conv1_b", "bn1_b"):
            continue
        elif block and part in PARTS:
            # theirs runs over (C, T), ours over (C, T, places)
            ours = value.unsqueeze(-1) if part == "shift.conv" else value
            found[f"{block}.{PARTS[part]}.{word}"] = ours
        elif not block and part in OUTSIDE:
            found[f"{OUTSIDE[part]}.{word}"] = value
        else:
            raise CheckpointError(f"{where}: unknown tensor {name!r:.80}")
    return found


def _both(tensors: Mapping[str, Tensor], name: str, word: str, where: str) -> Tensor:
    """The temporal and the spatial entrance as one."""
    temporal, spatial = tensors[name], tensors.get(re.sub(r"_a\.(\w+)$", r"_b.\1", name))
    if spatial is None:
        raise CheckpointError(f"{where}: {name!r:.80} lacks its spatial twin")
    return temporal if word == "num_batches_tracked" else torch.cat([temporal, spatial])
