"""ConvLSTM with Keras semantics, on frames folded into the batch: the brick of CLRNet and of
Xception-LSTM.

Shi et al. 2015 (arXiv 1506.04214) without peepholes, as `keras.layers.ConvLSTM2D` computes it:

    i, f, g, o = conv_x(x_t) + b + conv_h(h_{t-1})        gate order i, f, g, o
    c_t = act(f) * c_{t-1} + act(i) * tanh(g)      h_t = act(o) * tanh(c_t)      h_0 = c_0 = 0

Layout: (T*B, C, H, W), time first. Folded frames stay 4-D, so that convolutions, BatchNorm and
pools of the model need no reshaping and keep channels_last; time first makes one step a contiguous
slice.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GateAct = Literal["hard02", "sigmoid"]


def hard02(x: Tensor) -> Tensor:
    """clip(0.2 x + 0.5, 0, 1), Keras' hard_sigmoid; PyTorch's has slope 1/6, so it is fed 1.2 x."""
    return F.hardsigmoid(x * 1.2)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after one axis under Keras' 'same': the odd one goes to the bottom or
    right.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@torch.no_grad()
def truncated_normal(weight: Tensor, std: float) -> None:
    """Fill with a normal cut at two sigma whose standard deviation after the cut is `std` (Keras'
    VarianceScaling).

    By drawing again what fell outside, 7 times faster than `trunc_normal_`, which inverts the
    distribution.
    """
    if weight.is_meta:
        return
    flat = weight.normal_().view(-1)
    outside = (flat.abs() > 2).nonzero().squeeze(1)
    while len(outside):
        again = torch.randn(len(outside), dtype=weight.dtype, device=weight.device)
        flat[outside] = again
        outside = outside[again.abs() > 2]
    # 0.8796 is the standard deviation of a unit normal cut at +-2
    weight.mul_(std / 0.87962566103423978)


@torch.no_grad()
def orthogonal(weight: Tensor) -> None:
    """Fill with a random orthogonal matrix (out, in*k*k), of the same distribution as
    `nn.init.orthogonal_`.

    A = QR of a tall normal A through R'R = A'A (Cholesky), Q = A R^-1. R's diagonal is positive,
    which makes Q the sign-fixed factor, Haar distributed. Matrix products instead of Householder
    steps, 1.3 times faster here and more on a GPU; accurate because a tall normal matrix is well
    conditioned. A nearly square one takes the usual way.
    """
    rows, columns = weight.shape[0], weight[0].numel()
    short, long = min(rows, columns), max(rows, columns)
    if weight.is_meta:
        return
    if long < 2 * short:
        nn.init.orthogonal_(weight)
        return
    tall = torch.randn(long, short, dtype=weight.dtype, device=weight.device)
    factor = torch.linalg.cholesky(tall.T @ tall, upper=True)
    q = torch.linalg.solve_triangular(factor, tall, upper=True, left=False)
    weight.copy_((q.T if rows < columns else q).reshape(weight.shape))


class ConvLSTM(nn.Module):
    """One ConvLSTM layer: (T*B, C, H, W) -> (T*B, F, H', W'), or (B, F, H', W') with `last`.

    kernel, stride, padding: of the input convolution (padding 'same' as in Keras, or 'valid'); the
        recurrent one has kernel `recurrent_kernel` (default the same), stride 1, 'same', no bias.
    dropout: on the input in training, one mask per gate shared by all frames (Keras' `dropout`).
    init: he_normal or glorot_uniform, of the input kernel.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int,
        stride: int = 1,
        padding: Literal["same", "valid"] = "same",
        gate_act: GateAct = "hard02",
        recurrent_kernel: int | None = None,
        dropout: float = 0.0,
        init: Literal["he_normal", "glorot_uniform"] = "he_normal",
        last: bool = False,
    ) -> None:
        super().__init__()
        recurrent = kernel if recurrent_kernel is None else recurrent_kernel
        self.channels, self.filters, self.kernel, self.stride = channels, filters, kernel, stride
        self.padding, self.gate_act, self.dropout, self.init, self.last = (
            padding,
            gate_act,
            dropout,
            init,
            last,
        )
        self.gate = {"hard02": hard02, "sigmoid": torch.sigmoid}[gate_act]
        # bare tensors: nn.Conv2d would first draw its own initial values, seconds for CLRNet's 248
        # million
        self.input_kernel = nn.Parameter(torch.empty(4 * filters, channels, kernel, kernel))
        self.recurrent_kernel = nn.Parameter(
            torch.empty(4 * filters, filters, recurrent, recurrent)
        )
        self.bias = nn.Parameter(torch.empty(4 * filters))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Keras' defaults: input kernel by `init`, recurrent kernel orthogonal, bias 0 and 1 for
        the forget gate.
        """
        area = self.kernel**2
        if self.init == "he_normal":
            truncated_normal(self.input_kernel, math.sqrt(2 / (area * self.channels)))
        else:
            limit = math.sqrt(6 / (area * (self.channels + 4 * self.filters)))
            nn.init.uniform_(self.input_kernel, -limit, limit)
        orthogonal(self.recurrent_kernel)
        nn.init.zeros_(self.bias)
        self.bias[self.filters : 2 * self.filters] = 1.0

    def skipped_macs(self, frames: int, output: Tensor) -> int:
        """MACs of the recurrent convolution on the zero state: published counts have them, we
        never run them.
        """
        batch = output.shape[0] if self.last else output.shape[0] // frames
        return batch * output.shape[-2] * output.shape[-1] * self.recurrent_kernel.numel()

    def input_gates(self, x: Tensor, frames: int) -> Tensor:
        """conv_x of all frames at once: (T*B, C, H, W) -> (T*B, 4F, H', W')."""
        groups = 1
        if self.dropout and self.training:
            steps = x.unflatten(0, (frames, -1))
            # (T, B, 1, C, H, W) * (B, 4, C, H, W): four differently masked inputs, one group of
            # filters each
            mask = F.dropout(x.new_ones(steps.shape[1], 4, *x.shape[1:]), self.dropout)
            x, groups = (steps.unsqueeze(2) * mask).flatten(2, 3).flatten(0, 1), 4
        pad = (0, 0)
        if self.padding == "same":
            (top, bottom), (left, right) = (
                same_padding(n, self.kernel, self.stride) for n in x.shape[-2:]
            )
            if (top, left) == (bottom, right):
                pad = (top, left)
            else:
                x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.input_kernel, self.bias, self.stride, pad, groups=groups)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        gates = self.input_gates(x, frames).chunk(frames)  # T x (B, 4F, H', W')
        pad = self.recurrent_kernel.shape[-1] // 2
        cell, hidden, states = None, None, []
        for step in gates:
            if hidden is not None:
                step = step + F.conv2d(hidden, self.recurrent_kernel, padding=pad)
            i, f, g, o = step.chunk(4, dim=1)
            new = self.gate(i) * torch.tanh(g)
            # zero state: no recurrent convolution and nothing to forget
            cell = new if cell is None else torch.addcmul(new, self.gate(f), cell)
            hidden = self.gate(o) * torch.tanh(cell)
            states.append(hidden)
        return hidden if self.last else torch.cat(states)

    def extra_repr(self) -> str:
        shape = f"{self.channels}, {self.filters}, kernel={self.kernel}, stride={self.stride}"
        return (
            f"{shape}, gate_act={self.gate_act}, padding={self.padding}, "
            f"dropout={self.dropout}, last={self.last}"
        )
