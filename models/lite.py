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

from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec
from unmask.models.weights import Backbone

# timm's network -> the tag of its ImageNet weights
TAGS = {
    "tf_efficientnet_lite0": "in1k",
    "tf_efficientnet_b4": "ap_in1k",
    "test_efficientnet": "r160_in1k",
}


class Lite(nn.Module):
    """EfficientNet-Lite0 with two classes; see the module docstring.

    size: side of the frames, px; fit: how they come of the cached crop.
    dropout: before the classifier.
    norm: of the pixels.
    backbone: tf_efficientnet_b4 is what self-blended images were published with (380 px, norm
        unit); test_efficientnet is for tests on small machines.
    """

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
    ) -> None:
        super().__init__()
        if size < 32:
            raise ModelError(f"lite: size {size} leaves nothing of the last map; use 32 or more")
        self.spec = ClipSpec("single", 1, size, fit=fit, norm=norm)
        self.backbone = timm.create_model(backbone, num_classes=0)
        self.pretrained = (Backbone(f"{backbone}.{TAGS[backbone]}", "backbone"),)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.num_features, 2)
        self.to(memory_format=torch.channels_last)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and feature (B, D), means over the frames. Raises ModelError for what is
        no clip (B, T, 3, S, S).
        """
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ModelError(f"lite: expected a clip (B, T, 3, S, S), got {tuple(clip.shape)}")
        images = clip.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (B*T, 3, S, S)
        feature = self.backbone(images)  # (B*T, D)
        logits = self.head(self.dropout(feature)).unflatten(0, clip.shape[:2])
        return {"logits": logits.mean(1), "feature": feature.unflatten(0, clip.shape[:2]).mean(1)}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]
