"""STIL written plainly after its specification: NCHW, every rearrangement spelled out: truth and
baseline.

Input (B, T, 3, H, W) normalised; output logits (B, 2). `load(plain, ours)` copies the weights of a
unmask.models.stil.STIL.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(
    inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, without bias, then BatchNorm."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False), nn.BatchNorm2d(outputs)
    )


class PlainSIM(nn.Module):
    """Spatial inconsistency: a gate from a 4x4-pooled view of the map."""

    def __init__(self, width: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.across = conv_bn(width, width, (1, 3))
        self.down = conv_bn(width, width, (3, 1))
        self.conv = conv_bn(width, width, 3)
        self.last = conv_bn(width, width, 3)

    def forward(self, b: Tensor) -> tuple[Tensor, Tensor]:
        u = self.down(torch.relu(self.across(F.avg_pool2d(b, self.pool, self.pool))))
        gate = torch.sigmoid(b + F.interpolate(u, b.shape[-2:]))
        s = self.conv(b) * gate
        return torch.relu(self.last(s)), s


class PlainPlane(nn.Module):
    """One branch of TIM on pictures whose rows are space and whose columns are time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        reduced = max(width // 16, 1)
        self.motion = nn.Conv2d(
            reduced, reduced, (3, 1), padding=(1, 0), groups=reduced, bias=False
        )
        self.coarse = conv_bn(reduced, reduced, (3, 1))
        self.fine = conv_bn(reduced, reduced, (3, 1))
        self.expand = conv_bn(reduced, width, 1)

    def forward(self, f: Tensor) -> Tensor:
        moved = self.motion(f)  # (N, w/16, side, T)
        d = F.pad(moved[..., 1:] - f[..., :-1], (0, 1))
        d1 = F.interpolate(self.coarse(F.avg_pool2d(d, (2, 1))), d.shape[-2:])
        d2 = self.fine(d)
        return torch.sigmoid(self.expand((d + d1 + d2) / 3)) - 0.5


class PlainTIM(nn.Module):
    """Temporal inconsistency: differences over time seen in the H-T and the W-T plane."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = conv_bn(width, max(width // 16, 1), 1)
        self.rows = PlainPlane(width)
        self.columns = PlainPlane(width)

    def forward(self, a: Tensor, frames: int) -> Tensor:
        f = self.reduce(a)
        n, c, h, w = f.shape
        f = f.reshape(n // frames, frames, c, h, w)
        ht = f.permute(0, 4, 2, 3, 1).reshape(-1, c, h, frames)  # (B*W, w/16, H, T)
        wt = f.permute(0, 3, 2, 4, 1).reshape(-1, c, w, frames)  # (B*H, w/16, W, T)
        ht = (
            self.rows(ht).reshape(n // frames, w, -1, h, frames).permute(0, 4, 2, 3, 1)
        )  # (B, T, w, H, W)
        wt = (
            self.columns(wt).reshape(n // frames, h, -1, w, frames).permute(0, 4, 2, 1, 3)
        )  # (B, T, w, H, W)
        attention = ((ht + wt) / 2).reshape(a.shape)
        return a + a * attention


class PlainBlock(nn.Module):
    """Two-stream bottleneck; a is the temporal stream, b the spatial one."""

    def __init__(self, inputs: int, planes: int, stride: int, pool: int, first: bool) -> None:
        super().__init__()
        width, outputs = planes // 2, planes * 4
        self.enter_a = conv_bn(inputs, width, 1)
        self.enter_b = conv_bn(inputs, width, 1)
        self.sim = PlainSIM(width, pool)
        self.tim = PlainTIM(width)
        self.ism = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.shift = nn.Conv1d(width, width, 3, padding=1, groups=width, bias=False)
        self.conv = conv_bn(width, width, 3)
        self.leave = conv_bn(2 * width, outputs, 1)
        self.stride = stride
        self.shortcut = conv_bn(inputs, outputs, 1) if first else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        a, b = torch.relu(self.enter_a(x)), torch.relu(self.enter_b(x))
        out_b, s = self.sim(b)
        channel = torch.sigmoid(self.ism(s.mean((2, 3))[:, None]))[:, 0]
        joined = self.tim(a, frames) + s * channel[:, :, None, None]
        n, c, h, w = joined.shape
        pixels = joined.reshape(n // frames, frames, c, h, w).permute(
            0, 3, 4, 2, 1
        )  # (B, H, W, w, T)
        shifted = self.shift(pixels.reshape(-1, c, frames)).reshape(pixels.shape)
        out_a = torch.relu(self.conv(shifted.permute(0, 4, 3, 1, 2).reshape(n, c, h, w)))
        if self.stride == 2:
            out_a, out_b = F.avg_pool2d(out_a, 3, 2, 1), F.avg_pool2d(out_b, 3, 2, 1)
        if self.shortcut is not None:
            if self.stride == 2:
                x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
            x = self.shortcut(x)
        return torch.relu(self.leave(torch.cat([out_a, out_b], 1)) + x)


class PlainSTIL(nn.Module):
    """The whole network, widths as the published one with width = 64."""

    def __init__(
        self, width: int = 64, layers: tuple[int, ...] = (3, 4, 6, 3), pool: int = 4
    ) -> None:
        super().__init__()
        half = width // 2
        self.stem = nn.Sequential(
            *conv_bn(3, half, 3, 2),
            nn.ReLU(),
            *conv_bn(half, half, 3),
            nn.ReLU(),
            *conv_bn(half, width, 3),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList()
        inputs = width
        for stage, count in enumerate(layers):
            planes = width * 2**stage
            for index in range(count):
                stride = 2 if stage and not index else 1
                self.blocks.append(PlainBlock(inputs, planes, stride, pool, not index))
                inputs = planes * 4
        self.head = nn.Linear(inputs, 2)

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.shape[1]
        x = F.max_pool2d(self.stem(clip.flatten(0, 1)), 3, 2, 1)
        for block in self.blocks:
            x = block(x, frames)
        return self.head(x.mean((2, 3))).reshape(-1, frames, 2).mean(1)


def load(plain: PlainSTIL, state: dict[str, Tensor]) -> None:
    """Copy the weights of a unmask.models.stil.STIL into its plain twin; strict, so a missing
    tensor is an error.
    """
    renamed: dict[str, Tensor] = {}
    stages = sorted({name.rsplit(".", 1)[0] for name in block_prefixes(state)})
    places = {prefix: index for index, prefix in enumerate(stages)}
    for name, value in state.items():
        if not name.startswith("layer"):
            renamed[name] = value
            continue
        layer, index, rest = name.split(".", 2)
        prefix = f"blocks.{places[f'{layer}.{index}']}."
        if rest.startswith("enter."):
            halves = value.chunk(2) if value.ndim else (value, value)
            renamed[prefix + rest.replace("enter", "enter_a")] = halves[0]
            renamed[prefix + rest.replace("enter", "enter_b")] = halves[1]
        elif rest == "shift.conv.weight":
            renamed[prefix + "shift.weight"] = value.squeeze(-1)
        elif rest == "ism.conv.weight":
            renamed[prefix + "ism.weight"] = value
        elif rest.startswith("tim.columns.") and value.ndim == 4:
            renamed[prefix + rest] = value.transpose(
                2, 3
            )  # width lies in the rows of the W-T picture
        elif rest.startswith("shortcut."):
            _, place, leaf = rest.split(".")
            renamed[f"{prefix}shortcut.{int(place) - 1}.{leaf}"] = value
        else:
            renamed[prefix + rest] = value
    plain.load_state_dict(renamed)


def block_prefixes(state: dict[str, Tensor]) -> list[str]:
    """Names of one tensor per block, `layer2.0.ism`, enough to number the blocks."""
    return [name.removesuffix(".conv.weight") for name in state if name.endswith("ism.conv.weight")]
