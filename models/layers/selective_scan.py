"""The selective scan of Mamba (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, section 3.2,
algorithm 2), in plain PyTorch.

    h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t        y_t = C_t h_t

for every channel, with a state of S numbers each. Axes: D scans with weights of their own, N
sequences, L steps, I channels, S state.

The states of all steps, L times S times as large as the input, never exist: time is cut into
segments of SEGMENT steps, a forward pass keeps the state before each segment alone, and the
backward pass makes a segment's states again. Inside a segment all that is parallel is one
operation, and each step is one fused multiply-add. Of many sequences as many go together as leave
these states in a cache.

    selective_scan     what a layer calls: mamba_ssm's CUDA kernel where there is one, else ours;
                       torch.export gets the doubling form
    doubling_scan      log2(L) rounds on all steps at once (Hillis and Steele 1986): no loop over
                       time for an exporter to unroll
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

# Steps whose states exist at a time, and numbers of these: 0.8 MB for a picture in Vim tiny.
SEGMENT, TOGETHER = 16, 2**18

_SCHEMA = "(Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C) -> (Tensor, Tensor)"
_SCHEMA_BACK = (
    "(Tensor grad, Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor starts) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """x, delta (D, N, L, I), A (D, I, S) below zero, B, C (D, N, L, S) -> y (D, N, L, I)."""
    if torch.compiler.is_exporting():
        return doubling_scan(x, delta, A, B, C)
    kernel = published_kernel() if x.is_cuda else None
    if kernel is not None:
        return by_kernel(kernel, x, delta, A, B, C)
    return torch.ops.unmask.selective_scan(x, delta, A, B, C)[0]


@cache
def published_kernel() -> Callable[..., Tensor] | None:
    """selective_scan_fn of the package mamba_ssm, None where it is not installed."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn


def by_kernel(
    kernel: Callable[..., Tensor], x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> Tensor:
    """The same through mamba_ssm's function, which takes channels before time and one scan."""
    each = []
    for number in range(len(x)):
        time_last = (t[number].transpose(1, 2).contiguous() for t in (x, delta, B, C))
        u, dt, enter, leave = time_last  # (N, I, L) twice, (N, S, L) twice
        each.append(kernel(u, dt, A[number], enter, leave).transpose(1, 2))
    return torch.stack(each)


def doubling_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same by joining neighbours, then pairs, then fours: (a, b) followed by (a', b') is
    (a a', a' b + b').
    """
    decay = torch.exp(delta.unsqueeze(-1) * A[:, None, None])  # (D, N, L, I, S)
    state = (delta * x).unsqueeze(-1) * B.unsqueeze(-2)
    reach, steps = 1, x.shape[2]
    while reach < steps:
        earlier = torch.zeros_like(state[:, :, :reach])
        state = state + decay * torch.cat([earlier, state[:, :, :-reach]], 2)
        whole = torch.ones_like(decay[:, :, :reach])
        decay = decay * torch.cat([whole, decay[:, :, :-reach]], 2)
        reach *= 2
    return (state * C.unsqueeze(-2)).sum(-1)


def _segment(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """decay and states (G, D, N, S, I) of a segment that begins in the state `start` (D, N, S, I).

    x, delta (G, D, N, I), A (D, 1, S, I), B (G, D, N, S): channels lie innermost, so that no
    operation walks in steps of S numbers.
    """
    decay = (delta.unsqueeze(-2) * A).exp_()
    states = (delta * x).unsqueeze(-2) * B.unsqueeze(-1)
    state = start
    for step_decay, step in zip(decay.unbind(0), states.unbind(0), strict=True):
        state = step.addcmul_(step_decay, state)
    return decay, states


def _by_time(part: slice, *tensors: Tensor) -> list[Tensor]:
    """Some steps of (D, N, L, ...) as (G, D, N, ...), so that each lies in one piece."""
    return [tensor[:, :, part].movedim(2, 0).contiguous() for tensor in tensors]


def _blocks(x: Tensor, states: int) -> Iterator[slice]:
    """The sequences of x (D, N, L, I) that go together."""
    scans, sequences, _, channels = x.shape
    size = max(1, TOGETHER // (SEGMENT * scans * channels * states))
    return (slice(first, first + size) for first in range(0, sequences, size))


@torch.library.custom_op("unmask::selective_scan", mutates_args=(), schema=_SCHEMA)
def _scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """y, and the state before each segment (segments, D, N, S, I)."""
    scans, sequences, steps, channels = x.shape
    states = A.shape[-1]
    A = A.transpose(1, 2).unsqueeze(1).contiguous()  # (D, 1, S, I)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    starts = x.new_empty(-(-steps // SEGMENT), scans, sequences, states, channels)
    for block in _blocks(x, states):
        parts = (tensor[:, block] for tensor in (x, delta, B, C))
        _scan_block(*parts, A, y[:, block], starts[:, :, block])
    return y, starts


def _scan_block(
    x: Tensor, delta: Tensor, B: Tensor, C: Tensor, A: Tensor, y: Tensor, starts: Tensor
) -> None:
    """Fill y and starts of some sequences."""
    state = torch.zeros_like(starts[0])
    for number, start in enumerate(starts):
        part = slice(number * SEGMENT, (number + 1) * SEGMENT)
        xs, ds, bs, cs = _by_time(part, x, delta, B, C)
        start.copy_(state)
        _, states = _segment(xs, ds, A, bs, state)
        y[:, :, part] = torch.matmul(cs.unsqueeze(-2), states).squeeze(-2).movedim(0, 2)
        state = states[-1].clone()


@_scan.register_fake
def _(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    segments = -(-x.shape[2] // SEGMENT)
    shape = (segments, x.shape[0], x.shape[1], A.shape[-1], x.shape[3])
    return torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(shape)


@torch.library.custom_op("unmask::selective_scan_backward", mutates_args=(), schema=_SCHEMA_BACK)
def _scan_backward(
    grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, delta, A, B, C: the adjoint of a state is l_t = C_t grad_t + decay_{t+1}
    l_{t+1}, the same scan from the end.
    """
    whole = torch.contiguous_format
    found = [torch.empty_like(tensor, memory_format=whole) for tensor in (x, delta, B, C)]
    A = A.transpose(1, 2).unsqueeze(1).contiguous()  # (D, 1, S, I)
    to_A = torch.zeros_like(A)
    for block in _blocks(x, A.shape[2]):
        parts = (tensor[:, block] for tensor in (grad, x, delta, B, C))
        into = [tensor[:, block] for tensor in found]
        to_A += _back_block(*parts, A, starts[:, :, block], *into).sum(1, keepdim=True)
    to_x, to_delta, to_B, to_C = found
    return to_x, to_delta, to_A.squeeze(1).transpose(1, 2).contiguous(), to_B, to_C


def _back_block(
    grad: Tensor,
    x: Tensor,
    delta: Tensor,
    B: Tensor,
    C: Tensor,
    A: Tensor,
    starts: Tensor,
    to_x: Tensor,
    to_delta: Tensor,
    to_B: Tensor,
    to_C: Tensor,
) -> Tensor:
    """Fill the gradients of some sequences; returns that of A, (D, N, S, I), of each."""
    to_A, later = torch.zeros_like(starts[0]), None
    by_state = A.unbind(2)  # (D, 1, I) each
    for number in reversed(range(len(starts))):
        part = slice(number * SEGMENT, (number + 1) * SEGMENT)
        gs, xs, ds, bs, cs = _by_time(part, grad, x, delta, B, C)
        decay, states = _segment(xs, ds, A, bs, starts[number])
        # a row times a matrix: torch is eight times slower at a matrix times a column
        to_C[:, :, part] = torch.matmul(gs.unsqueeze(-2), states.mT).squeeze(-2).movedim(0, 2)
        adjoint = gs.unsqueeze(-2) * cs.unsqueeze(-1)  # (G, D, N, S, I)
        if later is not None:
            adjoint[-1] += later
        steps, decays = adjoint.unbind(0), decay.unbind(0)
        for step in reversed(range(len(steps) - 1)):
            steps[step].addcmul_(decays[step + 1], steps[step + 1])
        later = decay[0] * adjoint[0]
        entered = torch.matmul(bs.unsqueeze(-2), adjoint).squeeze(-2)  # (G, D, N, I)
        to_x[:, :, part] = (entered * ds).movedim(0, 2)
        both = (ds * xs).unsqueeze(-2)
        to_B[:, :, part] = torch.matmul(both, adjoint.mT).squeeze(-2).movedim(0, 2)
        # what remains goes through decay = exp(delta A); sums are taken slice by slice, so that
        # no product of their size is written
        through = decay.mul_(adjoint)
        through[1:] *= states[:-1]
        through[0] *= starts[number]
        for at_step, step_delta in zip(through.unbind(0), ds.unsqueeze(-2).unbind(0), strict=True):
            to_A.addcmul_(at_step, step_delta)
        slope = entered.mul_(xs)
        for at_state, rate in zip(through.unbind(3), by_state, strict=True):
            slope.addcmul_(at_state, rate)
        to_delta[:, :, part] = slope.movedim(0, 2)
    return to_A


@_scan_backward.register_fake
def _(
    grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    whole = torch.contiguous_format
    return tuple(torch.empty_like(tensor, memory_format=whole) for tensor in (x, delta, A, B, C))


def _keep(ctx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _back(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    return torch.ops.unmask.selective_scan_backward(grad, *ctx.saved_tensors)


_scan.register_autograd(_back, setup_context=_keep)


@register_flop_formula(torch.ops.unmask.selective_scan)
def _flops(x_shape, delta_shape, A_shape, *args, out_shape=None, **kwargs) -> int:
    """Two a multiply-add, three of these for every state: enter, decay, leave."""
    scans, sequences, steps, channels = x_shape
    return 6 * scans * sequences * steps * channels * A_shape[-1]
