"""tall_swin: four consecutive frames as one thumbnail, classified by a Swin Transformer with large
windows.

Paper: Xu, Liang, Jia, Yang, Zhang, He, "TALL: Thumbnail Layout for Deepfake Video Detection", ICCV
2023, https://arxiv.org/abs/2307.07494; as released (github.com/rainy-xu/TALL4Deepfake,
my_models/tall_swin.py, 8a20dc5).
Input: (B, 4 n, 3, 112, 112): n clips of four consecutive frames, spread over the video, ImageNet
mean and std; n is 8, as published. Each clip is a picture of 224 px, frame 0 top left, 1 right of
it, 2 below 0; the logits of a video's clips are averaged, before the loss too.
Size: 86,920,506 parameters; 16,315,029,504 MACs a clip.

Swin-B with windows of 14, 14, 14 and 7 places: where map and window are equal nothing is shifted,
so that from the third stage on every place sees all four frames. A learned vector per frame is
added to the patches of its tile. Tables of position biases of another window are resized
bilinearly.

Decisions where paper, code and ours differ:
- The released code enlarges frames to 224 px, lays out 448 and reduces to 224, a blur (1/8, 3/4,
  1/8) inside each tile; ours lays 112 px out directly, `double_resize` does as released.
- Its score is the raw logit of fake; ours is the softmax of both mean logits.
- Frames that do not fill a thumbnail: the release pads with zeros, ours goes on with the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.families import (
    attention_for_export,
    norm_of,
    pretrained_part,
    settings_of,
    undecayed,
)
from unmask.models.layers.pictures import PictureModel, thumbnail
from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec
from unmask.models.swin import TABLE, build_swin, resized_tables

GRID = 2
TILES = GRID * GRID


class TallSwin(PictureModel):
    """TALL-Swin; see the module docstring.

    clips: runs of four frames in a sample, whose logits are averaged.
    size: side of a frame, px.
    backbone: timm's name of the Swin, with the tag of its weights.
    width, layers: of build_swin, for small machines; window: side of its windows, places.
    frame_embedding: a learned vector per frame on its patches.
    double_resize: the released code's way to 224 px.
    attention: plain multiplies out what fused leaves to one kernel.
    drop_path: stochastic depth, linear in depth.
    """

    name = "tall_swin"
    grid = GRID
    small: ClassVar[dict[str, object]] = {"clips": 2, "width": 32, "layers": "1-1", "size": 28}

    def __init__(
        self,
        *,
        clips: int = 8,
        size: int = 112,
        backbone: str = "swin_base_patch4_window7_224.ms_in22k",
        width: int = 0,
        layers: str = "",
        window: int = 14,
        frame_embedding: bool = True,
        double_resize: bool = False,
        attention: Literal["fused", "plain"] = "fused",
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if clips < 1 or window < 1:
            raise ModelError(f"tall_swin: clips={clips} and window={window} must be 1 or more")
        norm = norm_of(
            "tall_swin", backbone, settings_of("tall_swin", backbone, "swin_transformer")
        )
        self.spec = ClipSpec("runs", TILES * clips, size, fit="resize", norm=norm, run=TILES)
        self.backbone = build_swin(
            "tall_swin",
            backbone,
            GRID * size,
            width=width,
            layers=layers,
            window=window,
            drop_path=drop_path,
            fused=attention == "fused",
        )
        self.double_resize = double_resize
        self.frame_embedding = None
        if frame_embedding:
            channels = self.backbone.patch_embed.proj.out_channels
            self.frame_embedding = nn.Parameter(torch.empty(1, TILES, channels))
            nn.init.trunc_normal_(self.frame_embedding, std=0.02)
        self.head = nn.Linear(self.backbone.num_features, 2)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.pretrained = pretrained_part(backbone, "backbone")
        self.no_decay = undecayed(self, ("frame_embedding", f"*{TABLE}"))
        self.to(memory_format=torch.channels_last)

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, 2S, 2S) -> (N, D)."""
        if self.double_resize:
            pictures = resized_twice(pictures)
        x = self.backbone.patch_embed(pictures.contiguous(memory_format=torch.channels_last))
        if self.frame_embedding is not None:
            x = x + self._map_of_frames(x.shape[1] // GRID)
        with attention_for_export(self.backbone):
            x = self.backbone.norm(self.backbone.layers(x))  # (N, H, W, D)
        return x.mean((1, 2))

    def _map_of_frames(self, side: int) -> Tensor:
        """(1, 2 side, 2 side, C): each frame's vector on the patches of its tile."""
        tiles = self.frame_embedding[..., None, None].expand(-1, -1, -1, side, side)
        return thumbnail(tiles).permute(0, 2, 3, 1)

    def resized(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a Swin of other windows with tables for these (released load_pretrained)."""
        return resized_tables(self.backbone, tensors, "backbone.", "bilinear")


def resized_twice(pictures: Tensor) -> Tensor:
    """(N, C, 2S, 2S) thumbnails as the released code makes them: each frame enlarged to twice its
    side, laid out, and the whole reduced by two, both bilinearly without smoothing.
    """
    side = pictures.shape[-1]
    tiles = pictures.unflatten(3, (GRID, -1)).unflatten(2, (GRID, -1))  # (N, C, 2, S, 2, S)
    frames = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # (N*4, C, S, S)
    large = F.interpolate(frames, size=(side, side), mode="bilinear", align_corners=False)
    whole = thumbnail(large.unflatten(0, (-1, TILES)))
    return F.interpolate(whole, size=(side, side), mode="bilinear", align_corners=False)
