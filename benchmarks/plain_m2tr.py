"""M2TR's fft variant written plainly after its specification, every attention as softmax(Q K^T) V.

The backbone is timm's in both; what is transcribed is everything the paper invented. Parameters
carry the names of unmask.models.m2tr, so `load_state_dict` of an M2TR(variant="fft") is strict and
needs no renaming.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn


def plain_feed(channels: int) -> nn.Sequential:
    """Dilated 3x3 and 3x3 convolution, each with BatchNorm and LeakyReLU 0.2."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2),
    )


def plain_out(channels: int, kernel: int) -> nn.Sequential:
    """Convolution, BatchNorm, LeakyReLU 0.2."""
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))


class PlainPatchAttention(nn.Module):
    """Four heads over patches of side H, H/2, H/4, H/8, features in (channel, row, column)
    order.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = plain_out(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, h, w = x.shape
        q, k, v = self.qkv(x).split(channels, 1)
        c = channels // 4
        heads = []
        for i, grid in enumerate((1, 2, 4, 8)):
            ph, pw = h // grid, w // grid
            tokens = []
            for part in (q, k, v):
                patches = part[:, i * c : (i + 1) * c].reshape(n, c, grid, ph, grid, pw)
                tokens.append(
                    patches.permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, c * ph * pw)
                )
            weights = torch.softmax(
                tokens[0] @ tokens[1].transpose(1, 2) / (c * ph * pw) ** 0.5, -1
            )
            mixed = (weights @ tokens[2]).reshape(n, grid, grid, c, ph, pw)
            heads.append(mixed.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w))
        return self.out(torch.cat(heads, 1))


class PlainTransformer(nn.Module):
    """Patch attention and feed-forward, both residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = PlainPatchAttention(channels)
        self.feed = plain_feed(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.feed(x)


class PlainFilter(nn.Module):
    """Product with G in the Fourier domain."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, side, side // 2 + 1, 2) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.complex(self.weight[..., 0], self.weight[..., 1])
        return torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * g, norm="ortho")


class PlainCross(nn.Module):
    """Cross attention with its whole H*W x H*W matrix."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        n, c, h, w = query.shape
        q = self.query(query).reshape(n, c, h * w).transpose(1, 2)  # (N, H*W, C)
        k, v = self.key_value(other).reshape(n, 2 * c, h * w).split(c, 1)  # (N, C, H*W)
        weights = torch.softmax(q @ k * c**-0.5, -1)  # (N, H*W, H*W)
        return (weights @ v.transpose(1, 2)).transpose(1, 2).reshape(n, c, h, w)


class PlainStage(nn.Module):
    """Transformer, filter, fusion in sequence."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.transformer = PlainTransformer(channels)
        self.filter = PlainFilter(channels, side)
        self.feed = plain_feed(channels)
        self.cross = PlainCross(channels)
        self.out = plain_out(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transformer(x)
        f = x + self.feed(self.filter(x))
        return x + self.out(self.cross(x, f))


class PlainM2TR(nn.Module):
    """The released network on (B, 3, S, S) pictures: logits (B, 2)."""

    def __init__(
        self, side: int = 320, depth: int = 4, backbone: str = "tf_efficientnet_b4"
    ) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            backbone, num_classes=0, drop_path_rate=0.2, bn_momentum=0.01
        )
        channels = self.backbone.feature_info[1]["num_chs"]
        self.stages = nn.Sequential(*(PlainStage(channels, side // 4) for _ in range(depth)))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(self.backbone.num_features, 2)

    def forward(self, x: Tensor) -> Tensor:
        b = self.backbone
        x = b.blocks[:2](b.bn1(b.conv_stem(x)))
        x = b.blocks[2:](self.stages(x))
        x = b.bn2(b.conv_head(x)).mean((2, 3))
        return self.head(self.dropout(x))
