"""vit: a Vision Transformer of timm on single frames.

Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021,
https://arxiv.org/abs/2010.11929. Any network of timm's module `vision_transformer` is an option;
ViT-B/16 is the default and what the library of M2TR's authors trains as a detector of fakes.
Input: (B, T, 3, 224, 224), normalised as the weights' maker did (ViT-B/16: mean and std 0.5). T
frames are judged alone and their logits averaged.
Size: ViT-B/16 85,800,194 parameters, 17.56 GMACs a frame.

Ours: attention by scaled_dot_product_attention, the patch convolution in channels-last memory;
positions of another side are resized bicubically when weights are put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from unmask.models.families import (
    fuse_attention,
    norm_of,
    pretrained_part,
    settings_of,
    undecayed,
)
from unmask.models.layers.pictures import GRIDS, PictureModel, Thumbnail, picture_spec
from unmask.models.options import ModelError

POSITIONS = "backbone.pos_embed"


class ViT(PictureModel):
    """A timm Vision Transformer with two classes; see the module docstring.

    backbone: timm's name with its tag (without one where timm has no weights).
    size: side of the pictures, px; 0 the weights' own.
    thumbnail: 2x2 lays four consecutive frames out as one picture.
    attention: plain multiplies out what fused leaves to one kernel.
    drop_path: stochastic depth, linear in depth.
    """

    name = "vit"
    small: ClassVar[dict[str, object]] = {"backbone": "test_vit.r160_in1k", "size": 64}

    def __init__(
        self,
        *,
        backbone: str = "vit_base_patch16_224.augreg_in21k",
        size: int = 0,
        fit: Literal["crop", "resize"] = "resize",
        thumbnail: Thumbnail = "none",
        attention: Literal["fused", "plain"] = "fused",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        settings = settings_of("vit", backbone, "vision_transformer")
        size = size or settings.input_size[-1]
        norm = norm_of("vit", backbone, settings)
        self.spec = picture_spec("vit", size, fit, norm, thumbnail)
        self.grid = GRIDS[thumbnail]
        self.backbone = timm.create_model(
            backbone.partition(".")[0], num_classes=0, img_size=size, drop_path_rate=drop_path
        )
        patch = self.backbone.patch_embed.patch_size[0]
        if size < 2 * patch or size % patch:
            raise ModelError(f"vit: size {size} is not a multiple of its patch of {patch} px")
        fuse_attention(self.backbone, attention == "fused")
        self.head = nn.Linear(self.backbone.num_features, 2)
        self.pretrained = pretrained_part(backbone, "backbone")
        self.no_decay = undecayed(self, ("*pos_embed", "*cls_token", "*reg_token"))
        self.to(memory_format=torch.channels_last)

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D): timm's pooling, the class token of most."""
        return self.backbone(pictures.contiguous(memory_format=torch.channels_last))

    def resized(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a network for another side with positions for this one."""
        found = dict(tensors)
        mine, theirs = getattr(self.backbone, "pos_embed", None), found.get(POSITIONS)
        if mine is None or theirs is None or theirs.ndim != 3 or theirs.shape == mine.shape:
            return found
        extra = 0 if self.backbone.no_embed_class else self.backbone.num_prefix_tokens
        if round((theirs.shape[1] - extra) ** 0.5) ** 2 == theirs.shape[1] - extra:
            grid = list(self.backbone.patch_embed.grid_size)
            found[POSITIONS] = resample_abs_pos_embed(theirs, grid, num_prefix_tokens=extra)
        return found
