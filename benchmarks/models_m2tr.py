"""What M2TR gains by never building the 6400 x 6400 attention matrix: time and peak memory at a
side of 320.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.models_stil import Row, best_seconds, step
from benchmarks.plain_m2tr import PlainCross, PlainPatchAttention
from unmask.models.layers.attention import CrossAttention, PatchAttention

CHANNELS, MAP = 32, 80  # of EfficientNet-b4's texture map at 320 px


class Blocks(nn.Module):
    """Both attentions of one stage."""

    def __init__(self, patch: nn.Module, cross: nn.Module) -> None:
        super().__init__()
        self.patch, self.cross = patch, cross

    def forward(self, x: Tensor) -> Tensor:
        return self.cross(x, self.patch(x))


def blocks(plain: bool) -> tuple[Blocks, Tensor]:
    """The plain or our blocks with the same weights, and a map in the layout each likes."""
    torch.manual_seed(0)
    ours = Blocks(PatchAttention(CHANNELS), CrossAttention(CHANNELS))
    x = torch.randn(1, CHANNELS, MAP, MAP)
    if not plain:
        return ours.to(memory_format=torch.channels_last), x.contiguous(
            memory_format=torch.channels_last
        )
    twin = Blocks(PlainPatchAttention(CHANNELS), PlainCross(CHANNELS))
    twin.load_state_dict(ours.state_dict())
    return twin, x


def resident_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (highest since the last reset) of this process, from Linux's /proc, in
    MiB.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def peak_mib(plain: bool) -> float:
    """How far one forward and backward pass raises the resident memory, kernels' scratch included,
    MiB.
    """
    model, x = blocks(plain)
    run = step(model, x)
    run()
    ctypes.CDLL(None).malloc_trim(
        0
    )  # what the first pass left free would hide what the second one takes
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts again from now
    before = resident_mib("VmRSS")
    run()
    return resident_mib("VmHWM") - before


def rows() -> list[Row]:
    """Ratios plain / ours of forward and backward, float32 and bf16, and of the peak memory."""
    (plain, x), (ours, x_last) = blocks(plain=True), blocks(plain=False)
    seconds = best_seconds(
        {
            "plain": step(plain, x),
            "float32": step(ours, x_last),
            "bf16": step(ours, x_last, half=True),
        }
    )
    memory = {"plain": peak_mib(plain=True), "ours": peak_mib(plain=False)}
    against = "softmax(QK^T)V"
    timed = [
        (f"M2TR attention blocks at 320, {name}", against, seconds["plain"] / seconds[name], 2.0,
         f"{1000 * seconds['plain']:.0f} ms, {1000 * seconds[name]:.0f} ms")
        for name in ("float32", "bf16")
    ]  # fmt: skip
    note = f"{memory['plain']:.0f} MiB, {memory['ours']:.0f} MiB"
    return [
        *timed,
        (
            "M2TR attention blocks at 320, peak memory",
            against,
            memory["plain"] / memory["ours"],
            3.0,
            note,
        ),
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
