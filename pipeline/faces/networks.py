"""One network of the MTCNN cascade on channels-last pictures, with facenet-pytorch's weights.

Ours because torch's pooling and PReLU of this memory layout take 1.2 to 6 times as long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unmask.pipeline.errors import PipelineError


def _halve(x: Tensor, axis: int, window: int) -> Tensor:
    """Maximum of each `window` at stride 2 along one axis of (n, h, w, c), the last window cut at
    the border.
    """
    length = x.shape[axis]
    out = -(-(length - window) // 2) + 1
    first, second = (x[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
    if second.shape[axis] >= out:
        y = torch.maximum(first.narrow(axis, 0, out), second.narrow(axis, 0, out))
    else:
        y = first.narrow(axis, 0, out).clone()
        head = y.narrow(axis, 0, second.shape[axis])
        torch.maximum(head, second, out=head)
    if window == 3:
        third = first.narrow(axis, 1, first.shape[axis] - 1)
        head = y.narrow(axis, 0, min(out, third.shape[axis]))
        torch.maximum(head, third.narrow(axis, 0, head.shape[axis]), out=head)
    return y


def max_pool(x: Tensor, window: int) -> Tensor:
    """`max_pool2d(x, window, 2, ceil_mode=True)` of a channels-last (n, c, h, w) for windows 2 and
    3.

    Ours because torch's keeps indices and takes 2 to 6 times as long on this memory layout.
    """
    y = x.permute(0, 2, 3, 1)
    return _halve(_halve(y, 1, window), 2, window).permute(0, 3, 1, 2)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`functional.prelu` of a channels-last (n, c, h, w), the same values.

    Ours because torch's goes pixel by pixel, and with the first network's 10 channels hardly two
    vectors at a time: that network took 1.2 to 1.6 times as long. Here a whole row of pixels is one
    axis of slopes.
    """
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h, w * c)
    return (
        functional.prelu(rows, slope.expand(w, c).reshape(-1)).view(n, h, w, c).permute(0, 3, 1, 2)
    )


class Net:
    """One network of the cascade for raw uint8 pixels: convolutions, one dense layer (not in the
    first), one head.

    __call__: (n, h, w, 3) uint8 -> (n, ..., 5 or 15) float32: face logit, 4 box offsets, 10
    landmark coordinates.
    pad: filled up with black to so many pictures. What a network says differs in the last bit from
    one shape to the next, as other kernels are chosen; in batches of one shape a picture is told
    the same whatever lies beside it.
    """

    def __init__(
        self,
        part: Mapping[str, Tensor],
        pools: Sequence[int],
        dense: str,
        heads: Sequence[str],
        device: str,
    ) -> None:
        self.device = device
        self.layers = []
        for number, pool in enumerate(pools, 1):
            weight, bias, slope = (
                part[f"{name}{number}.{kind}"]
                for name, kind in (("conv", "weight"), ("conv", "bias"), ("prelu", "weight"))
            )
            if number == 1:
                # (pixel - 127.5) / 128 goes into the first convolution, which has no padding.
                bias = bias - weight.sum((1, 2, 3)) * (127.5 / 128)
                weight = weight / 128
            weight = weight.to(device).contiguous(memory_format=torch.channels_last)
            self.layers.append((weight, bias.to(device), slope.to(device), pool))
        self.dense = None
        if dense:
            weight, channels = part[f"{dense}.weight"], self.layers[-1][0].shape[0]
            side = math.isqrt(weight.shape[1] // channels)
            # The weights expect (w, h, c); turned once here, the channels-last activations (h, w,
            # c) need no copy.
            weight = weight.view(-1, side, side, channels).transpose(1, 2).reshape(len(weight), -1)
            slope = part[f"prelu{dense[-1]}.weight"]
            self.dense = (weight.to(device), part[f"{dense}.bias"].to(device), slope.to(device))
        weight, bias = (
            torch.cat(
                [part[f"{name}.{kind}"].flatten(1 if kind == "weight" else 0) for name in heads]
            )
            for kind in ("weight", "bias")
        )
        # The first two rows are the logits of no face and face; softmax depends on their difference
        # only.
        self.head = tuple(
            torch.cat([rows[1:2] - rows[0:1], rows[2:]]).to(device) for rows in (weight, bias)
        )

    def __call__(self, pictures: NDArray[np.uint8], pad: int = 0) -> Tensor:
        return functional.linear(self.features(pictures, pad), *self.head)[: len(pictures)]

    def where(
        self, pictures: NDArray[np.uint8], logit: float, pad: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Places (m, 3) as picture, row, column whose face logit reaches a limit, and what is said
        there (m, 5).

        Offsets are worked out for these few only, which saves most of the head; in a batch of one
        shape for all.
        """
        x = self.features(pictures, pad)
        weight, bias = self.head
        if pad:
            said = functional.linear(x, weight, bias)[: len(pictures)]
            places = (said[..., 0] >= logit).nonzero()
            return places, said[tuple(places.T)]
        places = (functional.linear(x, weight[:1], bias[:1])[..., 0] >= logit).nonzero()
        return places, functional.linear(x[tuple(places.T)], weight, bias)

    def features(self, pictures: NDArray[np.uint8], pad: int = 0) -> Tensor:
        """What the head sees: (n, h, w, c) of the first network, (n, c) of the others; n is at
        least `pad`.
        """
        x = torch.from_numpy(pictures).to(self.device)
        if len(x) < pad:
            x = torch.cat([x, x.new_zeros((pad - len(x), *x.shape[1:]))])
        x = x.permute(0, 3, 1, 2).float()  # (n, 3, h, w)
        for weight, bias, slope, pool in self.layers:
            x = prelu(functional.conv2d(x, weight, bias), slope)
            if pool:
                x = max_pool(x, pool)
        x = x.permute(0, 2, 3, 1)  # (n, h, w, c)
        if self.dense:
            weight, bias, slope = self.dense
            x = functional.prelu(functional.linear(x.flatten(1), weight, bias), slope)
        return x


def stock_weights(name: str) -> dict[str, Tensor]:
    """The weights of `pnet`, `rnet` or `onet` as facenet-pytorch ships them.

    Read from its package without importing it, which would load torchvision.
    Raises: PipelineError where they are not there.
    """
    package = find_spec("facenet_pytorch")
    folder = Path(package.origin or ".").parent / "data" if package else Path()
    try:
        return torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
    except OSError as error:
        raise PipelineError(
            f"{name}.pt of facenet-pytorch: {error}; pip install --force-reinstall "
            "facenet-pytorch==2.5.3"
        ) from error
