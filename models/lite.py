"""lite: EfficientNet-Lite0 on single frames, the smallest network here that begins with ImageNet
weights, and with weights that need no hub.

Paper: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019, https://arxiv.org/abs/1905.11946; the Lite form (no squeeze-excite, ReLU6 for swish) is the
TensorFlow team's, released with it. timm's `tf_efficientnet_lite0`, whose asymmetric padding and
BatchNorm eps 1e-3 are TensorFlow's.
Input: (B, T, 3, S, S), pixels / 127.5 - 1; S = 160, the cached crop resized. T frames are judged
alone and their logits averaged.
Size: 3,373,570 parameters, 0.196 GMACs a frame at 160 px; one core of a shared server scores 41
frames in a second of CPU time and trains on 13.

Ours: 160 px, where a face of a 240 px crop still has half of its pixels at half of the cost of 224.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import timm
import torch
from torch import Tensor, nn

from unmask.models.layers.pictures import GRIDS, PictureModel, Thumbnail, picture_spec
from unmask.models.options import ModelError
from unmask.models.weights import Backbone

# timm's network -> the tag of its ImageNet weights
TAGS = {
    "tf_efficientnet_lite0": "in1k",
    "tf_efficientnet_b4": "ap_in1k",
    "test_efficientnet": "r160_in1k",
}


class Lite(PictureModel):
    """EfficientNet-Lite0 with two classes; see the module docstring.

    size: side of the frames, px; fit: how they come of the cached crop.
    dropout: before the classifier.
    norm: of the pixels.
    backbone: tf_efficientnet_b4 is what self-blended images were published with (380 px, norm
        unit); test_efficientnet is for tests on small machines.
    thumbnail: 2x2 lays four consecutive frames out as one picture.
    """

    name = "lite"
    small: ClassVar[dict[str, object]] = {"size": 64, "backbone": "test_efficientnet"}

    def __init__(
        self,
        *,
        size: int = 160,
        fit: Literal["crop", "resize"] = "resize",
        dropout: float = 0.2,
        norm: Literal["half", "unit"] = "half",
        backbone: Literal[
            "tf_efficientnet_lite0", "tf_efficientnet_b4", "test_efficientnet"
        ] = "tf_efficientnet_lite0",
        thumbnail: Thumbnail = "none",
    ) -> None:
        super().__init__()
        if size < 32:
            raise ModelError(f"lite: size {size} leaves nothing of the last map; use 32 or more")
        self.spec = picture_spec("lite", size, fit, norm, thumbnail)
        self.grid = GRIDS[thumbnail]
        self.backbone = timm.create_model(backbone, num_classes=0)
        self.pretrained = (Backbone(f"{backbone}.{TAGS[backbone]}", "backbone"),)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.num_features, 2)
        self.to(memory_format=torch.channels_last)

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D): the mean over the places of the last map."""
        return self.backbone(pictures.contiguous(memory_format=torch.channels_last))

    def logits_of(self, feature: Tensor) -> Tensor:
        """(N, D) -> (N, 2)."""
        return self.head(self.dropout(feature))
