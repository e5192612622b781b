"""encoder: a large pretrained Vision Transformer on single frames, its class token and one linear
layer.

Paper: Yermakov, Cech, Matas, Fritz, "Deepfake Detection that Generalizes Across Benchmarks" (GenD),
WACV 2026, https://arxiv.org/abs/2508.06248: CLIP's ViT-L/14 of which LayerNorms and head learn,
feature brought to unit length. With `conditioning="none"` the head of Effort (Yan et al., ICML
2025, https://arxiv.org/abs/2411.15633), whose low-rank change is part of the weights once trained.
Input: (B, T, 3, 224, 224), normalised as the encoder was trained. T frames are judged alone and
their logits averaged.
Size: 303,181,826 parameters, 104,450 of them in LayerNorms and head; 81.01 GMACs a frame.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec
from unmask.models.weights import Backbone

CLIP_L = "vit_large_patch14_clip_quickgelu_224.openai"
# timm's name with its tag -> (norm of its pixels, px it was trained at)
NORM_OF = {CLIP_L: "clip", "test_vit.r160_in1k": "half"}


class Encoder(nn.Module):
    """A timm encoder with two classes; see the module docstring.

    backbone: timm's name with its tag; test_vit is for tests on small machines.
    size: side of the frames, px; positions are made for it.
    conditioning: l2 brings the feature to unit length before the head.
    """

    small: ClassVar[dict[str, object]] = {
        "backbone": "test_vit.r160_in1k",
        "size": 64,
        "conditioning": "none",
    }

    def __init__(
        self,
        *,
        backbone: Literal[
            "vit_large_patch14_clip_quickgelu_224.openai", "test_vit.r160_in1k"
        ] = CLIP_L,
        size: int = 224,
        conditioning: Literal["l2", "none"] = "l2",
    ) -> None:
        super().__init__()
        name = backbone.partition(".")[0]
        patch = 14 if "patch14" in name else 16
        if size < 2 * patch or size % patch:
            raise ModelError(f"encoder: size {size} is not a multiple of its patch of {patch} px")
        self.spec = ClipSpec("single", 1, size, fit="resize", norm=NORM_OF[backbone])
        self.conditioning = conditioning
        self.encoder = timm.create_model(name, num_classes=0, img_size=size, global_pool="token")
        self.pretrained = (Backbone(backbone, "encoder"),)
        self.head = nn.Linear(self.encoder.num_features, 2)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and feature (B, D) after conditioning, means over the frames. Raises
        ModelError for a clip of another side.
        """
        side = self.spec.size
        if clip.ndim != 5 or clip.shape[2:] != (3, side, side):
            raise ModelError(
                f"encoder: expected a clip (B, T, 3, {side}, {side}), got {tuple(clip.shape)}"
            )
        feature = self.encoder(clip.flatten(0, 1))  # (B*T, D)
        if self.conditioning == "l2":
            feature = F.normalize(feature, dim=1)
        logits = self.head(feature).unflatten(0, clip.shape[:2])
        return {"logits": logits.mean(1), "feature": feature.unflatten(0, clip.shape[:2]).mean(1)}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]
