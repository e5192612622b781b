"""A learnable filter in the 2-D Fourier domain of a feature map, M2TR's frequency branch (ICMR
2022 version).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def resample_filter(weight: Tensor, side: int) -> Tensor:
    """G (C, h, h/2 + 1, 2) of one side for maps of another, bilinear over frequencies; zero stays
    zero frequency.

    Ours: the filter's size is part of the network, so a checkpoint made at one side needs this at
    another.
    """
    centred = weight.float().roll(weight.shape[1] // 2, 1)  # rows from -1/2 upward
    # The spectrum is periodic: row +1/2 is row -1/2, so that both ends of the axis meet grid points
    # of both sizes.
    closed = torch.cat([centred, centred[:, :1]], 1).permute(0, 3, 1, 2)
    resampled = F.interpolate(
        closed, (side + 1, side // 2 + 1), mode="bilinear", align_corners=True
    )[:, :, :side]
    return resampled.permute(0, 2, 3, 1).roll(-(side // 2), 1).to(weight.dtype)
