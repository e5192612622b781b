"""VTF: video temporal fusion, M2TR's transformer over the features of a video's frames.

Paper: https://arxiv.org/abs/2104.09770, section 3.4: 16 frames, 4 encoder layers, 8 heads, a class
token. No code was released; ours projects the 1792-d features to 512 channels, learns positions,
normalises first, and has an MLP of 2048.
Input: features (B, T, D) of a frozen M2TR, in time order: `--model m2tr --recipe vtf --init
RUN/checkpoints/best-.../model.safetensors` trains it.
Output: logits (B, 2).
Size: 13,538,818 parameters at D = 1792 and 16 frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.models.options import ModelError


class VTF(nn.Module):
    """Encoder with a class token over frame features (B, T, feature), T up to `frames` -> logits
    (B, 2).
    """

    def __init__(
        self,
        *,
        feature: int = 1792,
        frames: int = 16,
        width: int = 512,
        layers: int = 4,
        heads: int = 8,
        mlp: int = 2048,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.project = nn.Linear(feature, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, frames + 1, width))
        nn.init.trunc_normal_(self.token, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, mlp, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Linear(width, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Raises ModelError for more frames than there are positions."""
        if features.ndim != 3 or features.shape[-1] != self.project.in_features:
            raise ModelError(
                f"vtf: expected features (B, T, {self.project.in_features}), got "
                f"{tuple(features.shape)}"
            )
        if features.shape[1] > self.frames:
            raise ModelError(
                f"vtf: {features.shape[1]} frames, but only {self.frames} positions were learnt"
            )
        x = self.project(features)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)  # (B, 1 + T, width)
        x = self.encoder(x + self.position[:, : x.shape[1]])
        return self.head(x[:, 0])
