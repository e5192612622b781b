"""The one way to keep a computation in float32 inside a mixed-precision model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast on that device; devices that have none (meta) need none."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """Half types become float32, wider ones stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
