"""A learnable filter in the 2-D Fourier domain of a feature map, M2TR's frequency branch (ICMR
2022 version).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.models.layers.precision import at_least_float32, full_precision


class GlobalFilter(nn.Module):
    """z = irfft2(G * rfft2(x)), one complex G per channel and frequency; maps (N, C, side, side),
    float32 out.

    weight: (C, side, side/2 + 1, 2), real and imaginary part ~ N(0, 0.02). The transform is
    orthonormal and runs in
    float32 under any autocast: half types have no FFT on most sides, and bfloat16 would lose the
    traces looked for.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, side, side // 2 + 1, 2) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x.device):
            # A model moved to channels-last takes this parameter along; complex pairs must lie side
            # by side.
            weight = torch.view_as_complex(at_least_float32(self.weight).contiguous())
            spectrum = torch.fft.rfft2(at_least_float32(x), norm="ortho") * weight
            return torch.fft.irfft2(spectrum, s=x.shape[-2:], norm="ortho")
