"""Plain transcriptions of CLRNet and Xception-LSTM: float32, NCHW, step by step, nothing fused, nothing skipped.

The baselines of the model benchmarks and the independent truth of tests/models. Each function reads the weights of
our model by name, so that both compute from the same numbers; only the way of computing differs: both convolutions
of a ConvLSTM at every step (the first on zeros too), gates by their formulas, attention as softmax(q k')v.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding of Keras' 'same': (..., H, W) -> padded, the odd pixel at the bottom and right."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def plain_convlstm(layer: nn.Module, clip: Tensor) -> Tensor:
    """One ConvLSTM layer, step by step: (B, T, C, H, W) -> (B, T, F, H', W'); dropout is not drawn here."""
    kernel, stride, width = layer.kernel, layer.stride, layer.filters
    hidden = cell = None
    states = []
    for t in range(clip.shape[1]):
        x = clip[:, t]
        if layer.padding == "same":
            x = pad_same(x, kernel, stride)
        from_input = F.conv2d(x, layer.input_kernel, layer.bias, stride)
        if hidden is None:
            hidden = torch.zeros_like(from_input[:, :width])
            cell = torch.zeros_like(hidden)
        recurrent = layer.recurrent_kernel
        gates = from_input + F.conv2d(pad_same(hidden, recurrent.shape[-1], 1), recurrent)
        i, f, g, o = (
            gates[:, :width],
            gates[:, width : 2 * width],
            gates[:, 2 * width : 3 * width],
            gates[:, 3 * width :],
        )
        if layer.gate_act == "hard02":
            i, f, o = (torch.clamp(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        else:
            i, f, o = (torch.sigmoid(gate) for gate in (i, f, o))
        cell = f * cell + i * torch.tanh(g)
        hidden = o * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states, dim=1)


def per_frame(layer: nn.Module, clip: Tensor) -> Tensor:
    """Apply a 4-D layer to all frames at once, batch and time together: (B, T, C, H, W) -> (B, T, C', H', W')."""
    return layer(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])


def plain_bottleneck(block: nn.Module, x: Tensor) -> Tensor:
    """One bottleneck of CLRNet on (B, T, C, H, W)."""
    out = x if block.norm1 is None else torch.relu(per_frame(block.norm1, x))
    out = F.dropout(plain_convlstm(block.conv1, out), 0.25, block.training)
    out = torch.relu(per_frame(block.norm2, out))
    out = F.dropout(plain_convlstm(block.conv2, out), 0.25, block.training)
    out = torch.relu(per_frame(block.norm3, out))
    out = plain_convlstm(block.conv3, out)
    if block.shortcut is None:
        return out + x
    return out + per_frame(block.shortcut_norm, plain_convlstm(block.shortcut, x))


def plain_clrnet(model: nn.Module, clip: Tensor) -> Tensor:
    """CLRNet with the weights of `model`: (B, T, 3, H, W) -> logits (B, 2)."""
    x = torch.relu(per_frame(model.stem.norm, plain_convlstm(model.stem.conv, clip)))
    x = per_frame(lambda maps: F.max_pool2d(pad_same(maps, 3, model.stem.stride), 3, model.stem.stride), x)
    for stage in (model.stage0, model.stage1, model.stage2, model.stage3):
        for block in stage:
            x = plain_bottleneck(block, x)
    feature = per_frame(model.head.norm, x).mean((1, 3, 4))
    return model.head.fc(F.dropout(feature, 0.25, model.training))
