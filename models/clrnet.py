"""CLRNet: a pre-activation ResNet-50 in which every convolution, shortcuts included, is a ConvLSTM.

Papers: Tariq, Lee, Woo, "A Convolutional LSTM based Residual Network for Deepfake Video Detection"
(2020),
https://arxiv.org/abs/2009.07480, and "One Detector to Rule Them All" (WWW 2021),
https://arxiv.org/abs/2105.00187.
Input: (B, T, 3, H, W), pixels / 255 and nothing else; published T = 5 consecutive frames of 240 x
240. Any T, and any side down to about 48 px, runs.
Size: 248,107,394 parameters (53 ConvLSTM, 53 BatchNorm); 88,477,782,016 MACs for one clip of 5 x
240 x 240.

We follow the released code: gates by clip(0.2x + 0.5, 0, 1), asymmetric 'same' padding, BatchNorm
over batch, time and space (momentum 0.01, eps 1e-3), a max pool whose stride equals its size, no
ReLU after the last BatchNorm. Ours:
- Label 1 is fake (upstream: real), and logits leave the network, not a softmax.
- The recurrent convolution of the first frame, which reads zeros, is not computed.
- `width` scales all stages; `recurrent_kernel="1"` (a 1x1 recurrent convolution in the stem) saves
most of the cost;
  `stem_stride_pool="resnet"` pools 3x3 with stride 2. None of them is the published network.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.layers.convlstm import ConvLSTM, GateAct, same_padding, truncated_normal
from unmask.models.spec import ClipSpec

DEPTHS = (3, 4, 6, 3)
DROPOUT = 0.25


class Bottleneck(nn.Module):
    """1x1 (first of all blocks: 3x3) -> 3x3 -> 1x1 ConvLSTM and a shortcut: (T*B, C, H, W) -> (T*B,
    4F, H/s, W/s).

    The shortcut starts at the block's input, before BatchNorm and ReLU; it is a 1x1 ConvLSTM and
    BatchNorm where the shape changes.
    first: the block after the pool, without leading BatchNorm and ReLU.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        first: bool,
        gate_act: GateAct,
        momentum: float,
    ) -> None:
        super().__init__()
        outputs = 4 * width
        self.norm1 = None if first else batch_norm(channels, momentum)
        self.conv1 = ConvLSTM(channels, width, 3 if first else 1, stride, gate_act=gate_act)
        self.norm2 = batch_norm(width, momentum)
        self.conv2 = ConvLSTM(width, width, 3, gate_act=gate_act)
        self.norm3 = batch_norm(width, momentum)
        self.conv3 = ConvLSTM(width, outputs, 1, gate_act=gate_act)
        self.shortcut = self.shortcut_norm = None
        if stride != 1 or channels != outputs:
            self.shortcut = ConvLSTM(channels, outputs, 1, stride, "valid", gate_act=gate_act)
            self.shortcut_norm = batch_norm(outputs, momentum)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        out = x if self.norm1 is None else F.relu(self.norm1(x))
        out = F.dropout(self.conv1(out, frames), DROPOUT, self.training)
        out = F.dropout(self.conv2(F.relu(self.norm2(out)), frames), DROPOUT, self.training)
        out = self.conv3(F.relu(self.norm3(out)), frames)
        return out + (x if self.shortcut is None else self.shortcut_norm(self.shortcut(x, frames)))


class Stem(nn.Module):
    """7x7 ConvLSTM with stride 2, BatchNorm, ReLU, max pool: (T*B, 3, S, S) -> (T*B, F, S/6,
    S/6).
    """

    def __init__(
        self,
        width: int,
        gate_act: GateAct,
        recurrent_kernel: int | None,
        pool: Literal["paper", "resnet"],
        momentum: float,
    ) -> None:
        super().__init__()
        self.conv = ConvLSTM(3, width, 7, 2, gate_act=gate_act, recurrent_kernel=recurrent_kernel)
        self.norm = batch_norm(width, momentum)
        self.stride = 3 if pool == "paper" else 2

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = F.relu(self.norm(self.conv(x, frames)))
        (top, bottom), (left, right) = (same_padding(n, 3, self.stride) for n in x.shape[-2:])
        # after a ReLU, zeros pad a maximum as well as minus infinity does
        return F.max_pool2d(F.pad(x, (left, right, top, bottom)), 3, self.stride)


class Head(nn.Module):
    """BatchNorm without ReLU, mean over T, H, W, dropout, linear: (T*B, C, H, W) -> feature (B,
    C), logits (B, 2).
    """

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.norm = batch_norm(channels, momentum)
        self.fc = nn.Linear(channels, 2)
        truncated_normal(self.fc.weight, math.sqrt(2 / channels))
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        feature = self.norm(x).mean((2, 3)).unflatten(0, (frames, -1)).mean(0)  # (B, C)
        return feature, self.fc(F.dropout(feature, DROPOUT, self.training))


class CLRNet(nn.Module):
    """CLRNet on (B, T, 3, H, W): stem, four stages of bottlenecks, head, 2 logits.

    width: filters of the stem, all stages scale with it (64 published; 8 for tests).
    gate_act: hard02 as published.
    recurrent_kernel: of the stem, `same` (7) as published or `1`.
    stem_stride_pool: pool stride 3 (published) or 2.
    norm: unit (pixels / 255) as published, or imagenet.
    frames, size, fit: what `spec` asks of the cache.
    bn_momentum: weight of the newest batch in BatchNorm's running statistics (0.01 published; a run
        of a few hundred steps needs 0.1, or evaluation sees statistics of the first weights).
    """

    small: ClassVar[dict[str, object]] = {"width": 8, "frames": 3, "size": 96}

    def __init__(
        self,
        *,
        width: Literal[64, 32, 16, 8] = 64,
        gate_act: GateAct = "hard02",
        recurrent_kernel: Literal["same", "1"] = "same",
        stem_stride_pool: Literal["paper", "resnet"] = "paper",
        norm: Literal["unit", "imagenet"] = "unit",
        frames: int = 5,
        size: int = 240,
        fit: Literal["crop", "resize"] = "crop",
        bn_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.spec = ClipSpec(mode="consecutive", frames=frames, size=size, fit=fit, norm=norm)
        kernel = None if recurrent_kernel == "same" else 1
        self.stem = Stem(width, gate_act, kernel, stem_stride_pool, bn_momentum)
        channels = width
        for stage, depth in enumerate(DEPTHS):
            blocks = []
            for index in range(depth):
                first = stage == index == 0
                blocks.append(
                    Bottleneck(
                        channels, width * 2**stage, 1 if index else 2, first, gate_act, bn_momentum
                    )
                )
                channels = 4 * width * 2**stage
            self.add_module(f"stage{stage}", nn.ModuleList(blocks))
        self.head = Head(channels, bn_momentum)
        self.to(memory_format=torch.channels_last)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and the pooled feature (B, 32 * width) of clips (B, T, 3, H, W)."""
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(f"clrnet: expected a clip (B, T, 3, H, W), got {tuple(clip.shape)}")
        frames = clip.shape[1]
        x = (
            clip.transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        )  # (T*B, 3, H, W)
        x = self.stem(x, frames)
        for stage in (self.stage0, self.stage1, self.stage2, self.stage3):
            for block in stage:
                x = block(x, frames)
        feature, logits = self.head(x, frames)
        return {"logits": logits, "feature": feature}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]


def batch_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """BatchNorm over (T*B, H, W) with Keras' eps and, published, its momentum of 0.99."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum)
