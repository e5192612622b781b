"""How much faster STIL trains than its plain transcription: forward and backward of 8 frames of
224 px.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.plain_stil import PlainSTIL, load
from unmask.models.stil import STIL

# what, against what, measured ratio, target, note
Row = tuple[str, str, float, float, str]


def step(model: nn.Module, *inputs: torch.Tensor, half: bool = False) -> Callable[[], None]:
    """One forward and backward pass, under bf16 autocast where `half`."""

    def run() -> None:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model(*inputs)
        out.float().square().mean().backward()

    return run


def best_seconds(runs: dict[str, Callable[[], None]], rounds: int = 7) -> dict[str, float]:
    """Shortest wall time of each run. They take turns, so that a slow minute of the machine meets
    all of them.
    """
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def rows() -> list[Row]:
    """Ratios plain / ours; the same weights and the same clip in one process."""
    torch.manual_seed(0)
    ours, plain = STIL(), PlainSTIL()
    load(plain, ours.state_dict())
    clip = torch.randn(1, 8, 3, 224, 224)
    seconds = best_seconds(
        {
            "plain": step(plain, clip),
            "float32": step(ours, clip),
            "bf16": step(ours, clip, half=True),
        }
    )
    against = "plain NCHW float32"
    note = f"plain {seconds['plain']:.2f} s, " + "{:.2f} s, " + f"{torch.get_num_threads()} threads"
    return [
        (
            "STIL step, float32",
            against,
            seconds["plain"] / seconds["float32"],
            1.2,
            note.format(seconds["float32"]),
        ),
        (
            "STIL step, bf16 autocast",
            against,
            seconds["plain"] / seconds["bf16"],
            2.0,
            note.format(seconds["bf16"]),
        ),
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
