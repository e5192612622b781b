"""Attention over feature maps: M2TR's multi-scale patch transformer and cross-modality attention.

Maps are (N, C, H, W). The cross attention uses scaled_dot_product_attention, so that its H*W x H*W
matrix (6400 x 6400 at a side of 320) never exists; in channels-last memory its queries, keys and
values are views of the maps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.options import ModelError


def feed_forward(channels: int) -> nn.Sequential:
    """3x3 convolution with dilation 2, then a 3x3 convolution, both with BatchNorm and LeakyReLU
    0.2.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2, inplace=True),
    )


def to_tokens(x: Tensor, grid: int) -> Tensor:
    """Cut a map (N, C, H, W) into grid x grid patches: (N, grid^2, H/grid * W/grid * C)."""
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, grid, h // grid, grid, w // grid, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(n, grid * grid, -1)


def to_map(tokens: Tensor, grid: int, height: int, width: int) -> Tensor:
    """Inverse of to_tokens: (N, C, H, W)."""
    x = tokens.unflatten(1, (grid, grid)).unflatten(-1, (height // grid, width // grid, -1))
    return (
        x.permute(0, 1, 3, 2, 4, 5).reshape(tokens.shape[0], height, width, -1).permute(0, 3, 1, 2)
    )


class PatchAttention(nn.Module):
    """Four heads of C/4 channels attend between patches of side H, H/2, H/4 and H/8 (M2TR section
    3.2, equation 2).

    (N, C, H, W) with H and W multiples of 8 -> the same shape. The first head has one token:
    softmax is 1 and the head is a linear map of its values.
    """

    grids = (1, 2, 4, 8)

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % len(self.grids):
            raise ModelError(
                f"patch attention: {channels} channels do not split into {len(self.grids)} heads"
            )
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
        )

    def attend(self, x: Tensor) -> Tensor:
        """The four heads side by side, before the output convolution."""
        height, width = x.shape[-2:]
        triples = zip(
            *(part.chunk(len(self.grids), 1) for part in self.qkv(x).chunk(3, 1)), strict=True
        )
        heads = [
            attend_patches(q, k, v, grid)
            for grid, (q, k, v) in zip(self.grids, triples, strict=True)
        ]
        return torch.cat(
            [to_map(h, g, height, width) for h, g in zip(heads, self.grids, strict=True)], 1
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attend(x))


def attend_patches(q: Tensor, k: Tensor, v: Tensor, grid: int) -> Tensor:
    """softmax(q k^T / sqrt(length)) v between the patches of (N, C, H, W) maps: (N, grid^2,
    length).

    Explicit, because the matrix is at most 64 x 64 and tokens of 800 to 12,800 values are too long
    for a fused kernel.
    """
    values = to_tokens(v, grid)
    if grid == 1:
        return values
    queries, keys = to_tokens(q, grid) * (values.shape[-1] ** -0.5), to_tokens(k, grid)
    return torch.softmax(queries @ keys.transpose(1, 2), -1) @ values


class MultiScaleTransformer(nn.Module):
    """x1 = x + attention(x), x2 = x1 + feed_forward(x1) on maps (N, C, H, W) (M2TR section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = PatchAttention(channels)
        self.feed = feed_forward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.feed(x)


class CrossAttention(nn.Module):
    """Every position of one map asks every position of another: softmax(Q K^T * scale) V (M2TR
    section 3.3).

    query, other: (N, C, H, W) -> (N, C, H, W). scale: None for C^-0.5 (released code), "map" for
    (H*W*C)^-0.5 (first version of the paper).
    """

    def __init__(self, channels: int, scale: str | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        c, h, w = query.shape[1:]
        q = positions(self.query(query))
        k, v = self.key_value(other).chunk(2, 1)
        scale = (h * w * c) ** -0.5 if self.scale == "map" else c**-0.5
        out = F.scaled_dot_product_attention(
            q, positions(k), positions(v), scale=scale
        )  # (N, 1, H*W, C)
        return out.squeeze(1).unflatten(1, (h, w)).permute(0, 3, 1, 2)


def positions(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1 head, H*W, C), a view in channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).unsqueeze(1)
