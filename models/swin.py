"""swin: a Swin Transformer of timm on single frames.

Paper: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV
2021, https://arxiv.org/abs/2103.14030. Any network of timm's module `swin_transformer` is an
option.
Input: (B, T, 3, 224, 224), ImageNet mean and std. T frames are judged alone and their logits
averaged.
Size: Swin-T 27,520,892 parameters, 4.49 GMACs a frame; Swin-B 86,745,274 and 15.43.

Windows must tile the maps, which at 240 px they do not: the crop is resized to 224.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.families import (
    attention_for_export,
    fuse_attention,
    norm_of,
    pretrained_part,
    settings_of,
    undecayed,
)
from unmask.models.layers.pictures import GRIDS, PictureModel, Thumbnail, picture_spec
from unmask.models.options import ModelError

TABLE = "relative_position_bias_table"
HEAD = 32  # channels of an attention head, in every published Swin


def build_swin(
    model: str,
    backbone: str,
    size: int,
    *,
    width: int,
    layers: str,
    drop_path: float,
    fused: bool,
    window: int = 0,
) -> nn.Module:
    """timm's network without classifier.

    width: channels of the first stage, 0 the published ones.
    layers: blocks of its stages, "2-2-6-2", "" the published ones.
    window: side of the windows where the map is larger, 0 the published one.
    Raises ModelError where windows do not tile a map.
    """
    changes: dict[str, Any] = {"window_size": window} if window else {}
    if width or layers:
        depths = _depths(model, layers)
        width = width or HEAD
        if width % HEAD:
            raise ModelError(
                f"{model}: width {width} is not a multiple of {HEAD}, a head's channels"
            )
        heads = tuple(width // HEAD * 2**stage for stage in range(len(depths)))
        changes |= {"embed_dim": width, "depths": depths, "num_heads": heads}
    network = timm.create_model(
        backbone.partition(".")[0],
        num_classes=0,
        img_size=size,
        drop_path_rate=drop_path,
        **changes,
    )
    _refuse_open_windows(model, network, size)
    fuse_attention(network, fused)
    return network


def _depths(model: str, layers: str) -> tuple[int, ...]:
    parts = (layers or "2-2-6-2").split("-")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ModelError(f"{model}: layers '{layers}' are not numbers like 2-2-6-2")
    return tuple(int(part) for part in parts)


def _refuse_open_windows(model: str, network: nn.Module, size: int) -> None:
    patch = network.patch_embed.patch_size[0]
    maps = [stage.output_resolution[0] for stage in network.layers]
    windows = [stage.blocks[0].window_size[0] for stage in network.layers]
    halved = size % (patch * 2 ** (len(maps) - 1)) == 0
    if not halved or any(side % window for side, window in zip(maps, windows, strict=True)):
        raise ModelError(
            f"{model}: at {size} px its maps are {', '.join(map(str, maps))} places wide, which "
            f"windows of {', '.join(map(str, windows))} do not tile; 224 px fit the published nets"
        )


def resized_tables(
    network: nn.Module, tensors: Mapping[str, Tensor], prefix: str, mode: str
) -> dict[str, Tensor]:
    """The tensors with every table of position biases brought to the window it is for here.

    mode: of torch's interpolate, between the offsets of two places.
    """
    found = dict(tensors)
    for name, mine in network.named_parameters():
        theirs = found.get(prefix + name)
        if not name.endswith(TABLE) or theirs is None or theirs.shape == mine.shape:
            continue
        old, new = (round(len(table) ** 0.5) for table in (theirs, mine))
        if theirs.ndim == 2 and old * old == len(theirs) and new * new == len(mine):
            table = theirs.T.reshape(1, -1, old, old).float()  # (1, heads, 2w-1, 2w-1)
            found[prefix + name] = (
                F.interpolate(table, size=(new, new), mode=mode, align_corners=False)
                .flatten(2)[0]
                .T.to(theirs.dtype)
            )
    return found


class Swin(PictureModel):
    """A timm Swin Transformer with two classes; see the module docstring.

    backbone: timm's name with its tag.
    size: side of the pictures, px; 0 the weights' own.
    width, layers: see build_swin; for small machines.
    thumbnail: 2x2 lays four consecutive frames out as one picture.
    attention: plain multiplies out what fused leaves to one kernel.
    drop_path: stochastic depth, linear in depth.
    """

    name = "swin"
    small: ClassVar[dict[str, object]] = {"width": 32, "layers": "2-1", "size": 56}

    def __init__(
        self,
        *,
        backbone: str = "swin_tiny_patch4_window7_224.ms_in1k",
        size: int = 0,
        fit: Literal["crop", "resize"] = "resize",
        width: int = 0,
        layers: str = "",
        thumbnail: Thumbnail = "none",
        attention: Literal["fused", "plain"] = "fused",
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        settings = settings_of("swin", backbone, "swin_transformer")
        size = size or settings.input_size[-1]
        self.spec = picture_spec("swin", size, fit, norm_of("swin", backbone, settings), thumbnail)
        self.grid = GRIDS[thumbnail]
        self.backbone = build_swin(
            "swin",
            backbone,
            size,
            width=width,
            layers=layers,
            drop_path=drop_path,
            fused=attention == "fused",
        )
        self.head = nn.Linear(self.backbone.num_features, 2)
        self.pretrained = pretrained_part(backbone, "backbone")
        self.no_decay = undecayed(self, (f"*{TABLE}",))
        self.to(memory_format=torch.channels_last)

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D): the mean over the places of the last map."""
        with attention_for_export(self.backbone):
            return self.backbone(pictures.contiguous(memory_format=torch.channels_last))

    def resized(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a network of other windows with tables for these, bicubically as timm's."""
        return resized_tables(self.backbone, tensors, "backbone.", "bicubic")
