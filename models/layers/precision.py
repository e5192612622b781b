"""The one way to keep a computation in float32 inside a mixed-precision model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast on that device; the meta device computes nothing and knows none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Half types become float32, wider ones stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
