"""STIL: spatiotemporal inconsistency learning, a two-stream bottleneck network over sparsely
sampled frames.

Paper: Gu, Chen, Yao, Ding, Li, Huang, Ma, ACM MM 2021, https://arxiv.org/abs/2109.01860, figures 2
to 4.
Input: (B, T, 3, H, W) with ImageNet mean and std; published T = 8 sparse frames of 224 x 224, any T
and any side whose last map still holds one SIM pooling window (97 px upward with `sim_pool=4`)
runs. Output: logits per frame, averaged.
Size: 22,688,418 parameters; 37,531,135,232 MACs for 8 frames of 224 x 224 (4.691 G per frame).

Where figure and released code differ we follow the code (4 x 4 SIM pooling, two full 1x1
projections, ISM before the last SIM convolution, gate sigmoid - 0.5 with a residual). Ours:
- T is read from the input, frames keep their order; upstream reshapes to 8 frames whatever it is
given.
- The H-T and W-T planes are not rearranged: a (3, 1) kernel on a (H, T) picture is a (3, 1) kernel
on the (H, W)
  map of every frame, and BatchNorm sees the same set of numbers. Same for the shift, a depthwise
  (3, 1) kernel on (T, H*W).
- The two 1x1 projections of a block are two halves of one convolution: same parameters, the input
is read once.
- Pretrained weights are those of ResNet-50-D: stem, both 1x1 convolutions and shortcuts fit by
shape, the 3x3 ones
  start fresh (the paper's SCNet-50-v1d, which has them, is not in timm).
- `width` and `layers` make smaller machines than the published one.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec
from unmask.models.weights import Backbone


def conv_bn(
    inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, without bias, then BatchNorm."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False), nn.BatchNorm2d(outputs)
    )


class SIM(nn.Module):
    """Spatial inconsistency module: 3x3 features gated by a coarse view of the map (section 3.2,
    figure 3a).

    (N, w, H, W) -> its output and the gated features s that ISM reads, both (N, w, H, W).
    """

    def __init__(self, width: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.across = conv_bn(width, width, (1, 3))
        self.down = conv_bn(width, width, (3, 1))
        self.conv = conv_bn(width, width, 3)
        self.last = conv_bn(width, width, 3)

    def gate(self, b: Tensor) -> Tensor:
        """Sigmoid gate in 0..1 from the map and its pooled context, (N, w, H, W)."""
        u = F.avg_pool2d(b, self.pool)
        u = self.down(F.relu(self.across(u), inplace=True))
        return F.interpolate(u, b.shape[-2:]).add_(b).sigmoid_()

    def forward(self, b: Tensor) -> tuple[Tensor, Tensor]:
        s = self.conv(b) * self.gate(b)
        return F.relu(self.last(s), inplace=True), s


class Plane(nn.Module):
    """One branch of TIM: temporal differences seen along the rows (H-T plane) or the columns (W-T
    plane).
    """

    def __init__(self, width: int, axis: Literal["rows", "columns"]) -> None:
        super().__init__()
        reduced = max(width // 16, 1)
        kernel, self.pool = ((3, 1), (2, 1)) if axis == "rows" else ((1, 3), (1, 2))
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.motion = nn.Conv2d(
            reduced, reduced, kernel, padding=padding, groups=reduced, bias=False
        )
        self.coarse = conv_bn(reduced, reduced, kernel)
        self.fine = conv_bn(reduced, reduced, kernel)
        self.expand = conv_bn(reduced, width, 1)

    def difference(self, f: Tensor, frames: int) -> Tensor:
        """d_t = motion(f_{t+1}) - f_t, zero at the last frame of each clip; (B*T, w/16, H, W)."""
        ahead = self.motion(f).unflatten(0, (-1, frames))[:, 1:]  # (B, T-1, w/16, H, W)
        d = ahead - f.unflatten(0, (-1, frames))[:, :-1]
        return (
            torch.cat([d, torch.zeros_like(d[:, :1])], 1).flatten(0, 1)
            if frames > 1
            else torch.zeros_like(f)
        )

    def forward(self, f: Tensor, frames: int) -> Tensor:
        d = self.difference(f, frames)
        d1 = F.interpolate(self.coarse(F.avg_pool2d(d, self.pool)), d.shape[-2:])
        return torch.sigmoid(self.expand((d + d1 + self.fine(d)) / 3))


class TIM(nn.Module):
    """Temporal inconsistency module: a + a * att, att in -0.5..0.5 from both planes (section 3.3,
    figure 3b).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = conv_bn(width, max(width // 16, 1), 1)
        self.rows = Plane(width, "rows")
        self.columns = Plane(width, "columns")

    def forward(self, a: Tensor, frames: int) -> Tensor:
        f = self.reduce(a)
        # 1 + ((g1 - 0.5) + (g2 - 0.5)) / 2 = (g1 + g2 + 1) / 2
        return a * (self.rows(f, frames) + self.columns(f, frames)).add_(1).div_(2)


class ISM(nn.Module):
    """Information supplement module: s weighted per channel for the temporal stream (section 3.4,
    figure 3c).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, s: Tensor) -> Tensor:
        weight = self.conv(
            s.mean((2, 3)).unsqueeze(1)
        ).sigmoid()  # (N, 1, w), neighbours are adjacent channels
        return s * weight.squeeze(1)[:, :, None, None]


class Shift(nn.Module):
    """Learnable shift over time, starting as 1/8 of the channels from t+1, 1/8 from t-1, the rest
    in place.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, (3, 1), padding=(1, 0), groups=width, bias=False)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Set the 1/8 shift: taps are t-1, t, t+1."""
        eighth = self.conv.out_channels // 8
        taps = torch.zeros_like(self.conv.weight)
        taps[:eighth, 0, 2] = 1
        taps[eighth : 2 * eighth, 0, 0] = 1
        taps[2 * eighth :, 0, 1] = 1
        self.conv.weight.copy_(taps)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        n, c, h, w = x.shape
        # In channels-last memory a clip is already (T, H*W, c): the view costs nothing.
        clips = (
            x.permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c).permute(0, 3, 1, 2)
        )  # (B, c, T, H*W)
        return (
            self.conv(clips).permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)
        )  # (B*T, c, H, W)


class Block(nn.Module):
    """Two-stream bottleneck: a temporal, b spatial, joined by ISM and closed by a 1x1 convolution
    (figure 2).
    """

    def __init__(self, inputs: int, planes: int, stride: int, pool: int, first: bool) -> None:
        super().__init__()
        width, outputs = planes // 2, planes * 4
        self.enter = conv_bn(inputs, 2 * width, 1)
        self.sim = SIM(width, pool)
        self.tim = TIM(width)
        self.ism = ISM()
        self.shift = Shift(width)
        self.conv = conv_bn(width, width, 3)
        self.leave = conv_bn(2 * width, outputs, 1)
        self.halve = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        shrink = (
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
            if stride == 2
            else nn.Identity()
        )
        self.shortcut = (
            nn.Sequential(shrink, *conv_bn(inputs, outputs, 1)) if first else nn.Identity()
        )

    def forward(self, x: Tensor, frames: int) -> Tensor:
        a, b = F.relu(self.enter(x), inplace=True).chunk(2, 1)  # (B*T, w, H, W) each
        b, s = self.sim(b)
        # Sums go in place where no gradient needs the old value: these maps are bound by memory,
        # not by arithmetic.
        a = self.shift(self.tim(a, frames).add_(self.ism(s)), frames)
        a = F.relu(self.conv(a), inplace=True)
        out = self.leave(self.halve(torch.cat([a, b], 1))).add_(self.shortcut(x))
        return F.relu(out, inplace=True)


class STIL(nn.Module):
    """STIL on (B, T, 3, H, W): ResNet-50-D skeleton of two-stream blocks, 2 logits averaged over
    the frames.

    frames, size, fit: what `spec` asks of the cache; the network itself takes any T.
    sim_pool: side of the pooling window in SIM, 4 as released or 2 as written in the paper.
    width: planes of the first stage (64 published).
    layers: blocks per stage (3-4-6-3 published).
    """

    small: ClassVar[dict[str, object]] = {
        "width": 16,
        "layers": "1-1-1-1",
        "frames": 3,
        "size": 112,
    }

    def __init__(
        self,
        *,
        frames: int = 8,
        mode: Literal["sparse", "consecutive"] = "sparse",
        size: int = 224,
        fit: Literal["crop", "resize"] = "crop",
        sim_pool: Literal[4, 2] = 4,
        width: Literal[64, 32, 16] = 64,
        layers: Literal["3-4-6-3", "2-2-2-2", "1-1-1-1"] = "3-4-6-3",
    ) -> None:
        super().__init__()
        self.spec = ClipSpec(mode=mode, frames=frames, size=size, fit=fit, norm="imagenet")
        self.sim_pool = sim_pool
        self.stem = stem(width)
        inputs = width
        for stage, count in enumerate(int(part) for part in layers.split("-")):
            planes = width * 2**stage
            strides = [2 if stage else 1] + [1] * (count - 1)
            blocks = []
            for index, stride in enumerate(strides):
                blocks.append(Block(inputs, planes, stride, sim_pool, first=index == 0))
                inputs = planes * 4
            self.add_module(f"layer{stage + 1}", nn.ModuleList(blocks))
        self.head = nn.Linear(inputs, 2)
        self.pretrained = (
            (Backbone("resnet50d.gluon_in1k", "", resnet50d_name),) if width == 64 else ()
        )
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and the pooled feature (B, 32 * width) of clips (B, T, 3, H, W).

        Raises ModelError where the last map would be smaller than SIM's pooling window.
        """
        self.check(clip.shape)
        frames = clip.shape[1]
        x = clip.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (B*T, 3, H, W)
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, frames)
        # The head is linear: averaging features over T equals averaging the logits of the frames.
        feature = x.mean((2, 3)).unflatten(0, (-1, frames)).mean(1)  # (B, 32 * width)
        return {"logits": self.head(feature), "feature": feature}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]

    def check(self, shape: torch.Size) -> None:
        """Refuse what cannot be a clip or is too small, before a pooling deep inside fails."""
        if len(shape) != 5 or shape[2] != 3:
            raise ModelError(f"stil: expected a clip (B, T, 3, H, W), got {tuple(shape)}")
        least = min(shape[3:])
        for _ in range(5):
            least = (least + 1) // 2
        if least < self.sim_pool:
            needed = 32 * (self.sim_pool - 1) + 1
            raise ModelError(
                f"stil: {shape[3]} x {shape[4]} px leave a last map of {least} px, smaller than "
                "SIM's "
                f"{self.sim_pool} x {self.sim_pool} pooling; use a side of at least {needed} px"
            )


def stem(width: int) -> nn.Sequential:
    """ResNet-D stem: three 3x3 convolutions, the first with stride 2."""
    half = width // 2
    return nn.Sequential(
        *conv_bn(3, half, 3, 2),
        nn.ReLU(inplace=True),
        *conv_bn(half, half, 3),
        nn.ReLU(inplace=True),
        *conv_bn(half, width, 3),
        nn.ReLU(inplace=True),
    )


def initialise(model: nn.Module) -> None:
    """Kaiming normal (fan-out) for 2-D convolutions, then the shift again, as released.

    The two 1x1 projections of a block are one convolution here with twice the outputs: each of its
    halves gets the standard deviation that it has alone, sqrt(2 / width).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in model.modules():
        if isinstance(module, Block):
            with torch.no_grad():
                module.enter[0].weight.mul_(math.sqrt(2))
        if isinstance(module, Shift):
            module.reset()


def resnet50d_name(name: str) -> str | None:
    """timm's tensor name in a ResNet-50-D -> ours, None for the 3x3 convolutions, which have no
    counterpart.
    """
    parts = name.split(".")
    if parts[0] == "conv1":
        return ".".join(["stem", *parts[1:]])
    if parts[0] == "bn1":
        return f"stem.7.{parts[-1]}"
    places = {
        "conv1": "enter.0",
        "bn1": "enter.1",
        "conv3": "leave.0",
        "bn3": "leave.1",
        "downsample": "shortcut",
    }
    if len(parts) > 3 and parts[2] in places:
        return ".".join([*parts[:2], places[parts[2]], *parts[3:]])
    return None
