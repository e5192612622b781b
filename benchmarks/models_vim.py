"""What Vim's scan gains over a loop over time: time and peak memory of forward and backward, both
directions of one layer of Vim tiny at 197 tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.models_m2tr import resident_mib
from benchmarks.rows import Row, alternate
from unmask.models.layers.selective_scan import selective_scan

TOKENS, CHANNELS, STATE = 197, 384, 16
ROUNDS = 5
# One scan raises the memory of a process by less than its allocator keeps: so many at once.
PICTURES = 16

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def stepwise(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The definition, a step after the other: x, delta (D, N, L, I), A (D, I, S), B, C (D, N, L,
    S).
    """
    state, out = x.new_zeros(*x.shape[:2], x.shape[-1], A.shape[-1]), []
    for t in range(x.shape[2]):
        decay = torch.exp(delta[:, :, t, :, None] * A[:, None])
        state = decay * state + (delta[:, :, t] * x[:, :, t])[..., None] * B[:, :, t, None]
        out.append((state * C[:, :, t, None]).sum(-1))
    return torch.stack(out, 2)


def prepared(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same with all decays and inputs made before the loop, as Mamba's published reference."""
    decay = torch.exp(delta[..., None] * A[:, None, None])  # (D, N, L, I, S)
    enter = (delta * x)[..., None] * B[..., None, :]
    state, out = torch.zeros_like(enter[:, :, 0]), []
    for t in range(x.shape[2]):
        state = decay[:, :, t] * state + enter[:, :, t]
        out.append(torch.einsum("dnis,dns->dni", state, C[:, :, t]))
    return torch.stack(out, 2)


def drawn(pictures: int) -> tuple[Tensor, ...]:
    """What a layer of Vim tiny gives its scan, both directions."""
    torch.manual_seed(0)
    x, delta = torch.randn(2, 2, pictures, TOKENS, CHANNELS)
    A = -torch.arange(1.0, STATE + 1).expand(2, CHANNELS, STATE).clone()
    B, C = torch.randn(2, 2, pictures, TOKENS, STATE)
    return tuple(part.clone().requires_grad_() for part in (x, F.softplus(delta - 3), A, B, C))


def passes(scan: Scan, parts: tuple[Tensor, ...]) -> Callable[[], None]:
    """Forward and backward."""
    return lambda: scan(*parts).square().sum().backward()


def peak_mib(scan: Scan) -> float:
    """How far both passes of PICTURES pictures raise the resident memory, MiB."""
    run = passes(scan, drawn(PICTURES))
    run()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mib("VmRSS")
    run()
    return resident_mib("VmHWM") - before


def rows() -> list[Row]:
    """Ratios loop / ours of time and peak memory."""
    parts = drawn(1)
    runs = {scan.__name__: passes(scan, parts) for scan in (stepwise, prepared, selective_scan)}
    seconds = {name: one.cpu for name, one in alternate(runs, ROUNDS).items()}
    ours = seconds["selective_scan"]
    memory = {scan.__name__: peak_mib(scan) for scan in (stepwise, selective_scan)}
    found = [
        Row(
            f"Vim tiny scan, {TOKENS} tokens, forward and backward, CPU time",
            against,
            seconds[name] / ours,
            5.0,
            f"{1000 * seconds[name]:.0f} ms, {1000 * ours:.0f} ms",
        )
        for name, against in (
            ("stepwise", "loop, a step at a time"),
            ("prepared", "loop over decays made before, as Mamba's reference"),
        )
    ]
    return [
        *found,
        Row(
            f"Vim tiny scan, {PICTURES} pictures, peak memory",
            "loop, a step at a time",
            memory["selective_scan"] / memory["stepwise"],
            0.25,
            f"{memory['selective_scan']:.0f} MiB, {memory['stepwise']:.0f} MiB",
            most=True,
        ),
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
