"""Perceptual distance of a fake and its original: how far a network's answers to them lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from unmask.pipeline.quality.networks import Network

SMALL = 1e-10


@dataclass(frozen=True)
class Distance:
    """crop: (n,) over whole crops. masked: (n,) over the mask, nan where a depth has no place
    inside it.
    """

    crop: NDArray[np.float64]
    masked: NDArray[np.float64]


@torch.inference_mode()
def perceptual_distance(
    network: Network,
    original: NDArray[np.uint8],
    fake: NDArray[np.uint8],
    mask: NDArray[np.bool_],
) -> Distance:
    """0 for equal pictures, larger the farther.

    original, fake: (n, S, S, 3). mask: (n, S, S).
    LPIPS' form: channels at unit length, squared difference, weighted by the head where the network
    has one, summed over channels, mean over places, summed over depths (Zhang et al., CVPR 2018,
    equation 1). VGG-19's: mean absolute difference, summed over depths.
    """
    inside = torch.from_numpy(mask)[:, None].float()  # (n, 1, S, S)
    crop, masked = torch.zeros(len(mask)), torch.zeros(len(mask))
    one, two = (network.stages(torch.from_numpy(p.copy())) for p in (original, fake))
    for depth, (first, second) in enumerate(zip(one, two, strict=True)):
        if network.kind.absolute:
            apart = (first - second).abs().mean(dim=1)
        else:
            squared = (_unit(first) - _unit(second)) ** 2
            if network.head is not None:
                squared = squared * network.head[depth][:, None, None]
            apart = squared.sum(dim=1)  # (n, h, w)
        counted = interpolate(inside, apart.shape[1:], mode="nearest")[:, 0]
        crop += apart.mean(dim=(1, 2))
        masked += (apart * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))
    return Distance(crop.double().numpy(), masked.double().numpy())


def _unit(answer: Tensor) -> Tensor:
    return answer / (answer.square().sum(dim=1, keepdim=True).sqrt() + SMALL)
