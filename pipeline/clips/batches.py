"""The raw batch that leaves the reading threads, and the buffers it is read into."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unmask.pipeline.clips.samples import Sample


@dataclass
class RawBatch:
    """Samples as they lie in the cache.

    pixels: (B,T,S,S,3) uint8.
    masks: (B,T,S,S) uint8 or None.
    label: (B,) int64, of the sample itself.
    The tensors are views of a buffer that is filled again: use them before asking for the next
    batch.
    """

    samples: list[Sample]
    pixels: Tensor
    masks: Tensor | None
    label: Tensor
    copied: torch.cuda.Event | None = field(default=None, repr=False)


def empty_batch(shape: tuple[int, ...], pin: bool) -> Tensor:
    """Host memory for uint8; numpy asks for large pages, torch does not: measured 1.4 times the
    clips/s.
    """
    if pin:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    return torch.from_numpy(np.empty(shape, np.uint8))
