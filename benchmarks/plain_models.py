"""Plain transcriptions of CLRNet and Xception-LSTM: float32, NCHW, step by step, nothing fused,
nothing skipped.

The baselines of the model benchmarks and the independent truth of tests/models. Each function reads
the weights of our model by name, so that both compute from the same numbers; only the way of
computing differs: both convolutions of a ConvLSTM at every step (the first on zeros too), gates by
their formulas, attention as softmax(q k')v.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding of Keras' 'same': (..., H, W) -> padded, the odd pixel at the bottom and
    right.
    """
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def plain_convlstm(layer: nn.Module, clip: Tensor) -> Tensor:
    """One ConvLSTM layer, step by step: (B, T, C, H, W) -> (B, T, F, H', W')."""
    kernel, stride, width = layer.kernel, layer.stride, layer.filters
    hidden = cell = masks = None
    if layer.dropout and layer.training:
        masks = F.dropout(clip.new_ones(clip.shape[0], 4, *clip.shape[2:]), layer.dropout)
    states = []
    for t in range(clip.shape[1]):
        x = clip[:, t]
        gate_inputs = [x] * 4 if masks is None else [x * masks[:, gate] for gate in range(4)]
        if layer.padding == "same":
            gate_inputs = [pad_same(x, kernel, stride) for x in gate_inputs]
        if masks is None:
            from_input = F.conv2d(gate_inputs[0], layer.input_kernel, layer.bias, stride)
        else:
            kernels, biases = layer.input_kernel.chunk(4), layer.bias.chunk(4)
            parts = zip(gate_inputs, kernels, biases, strict=True)
            from_input = torch.cat([F.conv2d(x, k, b, stride) for x, k, b in parts], dim=1)
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
    """Apply a 4-D layer to all frames at once, batch and time together: (B, T, C, H, W) -> (B, T,
    C', H', W').
    """
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
    x = per_frame(
        lambda maps: F.max_pool2d(pad_same(maps, 3, model.stem.stride), 3, model.stem.stride), x
    )
    for stage in (model.stage0, model.stage1, model.stage2, model.stage3):
        for block in stage:
            x = plain_bottleneck(block, x)
    feature = per_frame(model.head.norm, x).mean((1, 3, 4))
    return model.head.fc(F.dropout(feature, 0.25, model.training))


def plain_attention(layer: nn.Module, clip: Tensor) -> Tensor:
    """Spatial and temporal attention of Xception-LSTM, frame by frame: (B, T, 3, H, W) -> the
    same.
    """
    spatial, temporal = layer.spatial, layer.temporal
    vectors = []
    for t in range(clip.shape[1]):
        x = clip[:, t]
        m = torch.sigmoid(
            (x * spatial.mask.weight.view(1, 3, 1, 1)).sum(1, keepdim=True) + spatial.mask.bias
        )
        s = spatial.enter((m * x).sum((2, 3)))
        s = (s - s.mean(1, keepdim=True)) / torch.sqrt(
            s.var(1, unbiased=False, keepdim=True) + 1e-3
        )
        vectors.append(spatial.leave(torch.relu(s * spatial.norm.weight + spatial.norm.bias)))
    if temporal is None:
        return torch.stack([clip[:, t] + w[:, :, None, None] for t, w in enumerate(vectors)], dim=1)
    w = torch.stack(vectors, dim=1)  # (B, T, 3)
    q, k, v = temporal.query(w), temporal.key(w), temporal.value(w)
    if temporal.key_reshape:
        k = k.reshape(len(k), 3, -1).transpose(1, 2)
    frames = []
    for t in range(clip.shape[1]):
        scores = torch.stack(
            [(q[:, t] * k[:, other]).sum(1) for other in range(clip.shape[1])], dim=1
        )  # (B, T)
        y = (torch.softmax(scores, dim=1)[:, :, None] * v).sum(1)  # (B, 3)
        z = temporal.leave(y)  # (B, 1)
        x, vector = clip[:, t], w[:, t, :, None, None]
        frames.append((x + vector) * (vector + z[:, :, None, None]) + x)
    return torch.stack(frames, dim=1)


def plain_xception_lstm(model: nn.Module, clip: Tensor) -> Tensor:
    """Xception-LSTM with the weights of `model`: (B, T, 3, H, W) -> logits (B, 2)."""
    if model.attention is not None:
        clip = plain_attention(model.attention, clip)
    x = per_frame(model.backbone.forward_features, clip)
    if model.pool_first:
        x = x.mean((3, 4), keepdim=True)
    x = plain_convlstm(model.rnn, x)[:, -1].mean((2, 3))
    head = model.head
    x = F.dropout(torch.relu(head.dense1(x)), 0.5, head.training)
    x = F.dropout(torch.relu(head.dense2(x)), 0.5, head.training)
    return head.dense3(x)
