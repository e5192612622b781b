"""How much faster CLRNet trains than its plain transcription: forward and backward on this CPU.

Quick: width 16, two clips of 5 x 120 px. `rows(full=True)`: the published network on one clip of 5
x 240 px.
"""

from __future__ import annotations

import torch

from benchmarks.models_stil import Row, best_seconds, step
from benchmarks.plain_models import plain_clrnet
from unmask.models.clrnet import CLRNet


class PlainCLRNet(CLRNet):
    """The same weights in NCHW memory, computed by the plain transcription."""

    def forward(self, clip: torch.Tensor, bands: torch.Tensor | None = None) -> torch.Tensor:
        return plain_clrnet(self, clip)


def rows(full: bool = False) -> list[Row]:
    """Ratios plain / ours; the same clips in one process, dropout drawn by both."""
    torch.manual_seed(0)
    width, size, batch = (64, 240, 1) if full else (16, 120, 2)
    ours = CLRNet(width=width)
    plain = PlainCLRNet(width=width).to(memory_format=torch.contiguous_format)
    plain.load_state_dict(ours.state_dict())
    clip = torch.rand(batch, 5, 3, size, size)
    runs = {
        "plain": step(plain, clip),
        "float32": step(ours, clip),
        "bf16": step(ours, clip, half=True),
    }
    seconds = best_seconds(runs, rounds=2 if full else 5)
    against = f"plain NCHW float32, width {width}, {batch} x 5 x {size} px"
    note = f"plain {seconds['plain']:.2f} s, " + "{:.2f} s, " + f"{torch.get_num_threads()} threads"
    return [
        (
            "CLRNet step, float32",
            against,
            seconds["plain"] / seconds["float32"],
            1.2,
            note.format(seconds["float32"]),
        ),
        (
            "CLRNet step, bf16 autocast",
            against,
            seconds["plain"] / seconds["bf16"],
            1.2,
            note.format(seconds["bf16"]),
        ),
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
