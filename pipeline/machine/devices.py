"""Which device the work runs on, asked for by name or the best one that answers, and how its
memory is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from unmask.pipeline.errors import UsageError

# Device files of a driver under which torch may find a GPU: NVIDIA, AMD, Windows' own Linux.
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def may_have_gpu() -> bool:
    """Whether a GPU may answer here, for who does not want to wait for torch to know it."""
    return any(Path(driver).exists() for driver in DRIVERS)


def choose_device(wanted: str) -> Literal["cpu", "cuda"]:
    """cpu or cuda; `auto` takes the GPU where there is one.

    Raises: UsageError when a GPU is asked for and none answers, before any work is done.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError(
            "--device cuda: torch sees no GPU here (driver, or a CPU build of torch); take "
            "--device auto or cpu"
        )
    return "cpu"
