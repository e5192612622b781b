"""Which device the work runs on, asked for by name or the best one that answers, and how its
memory is kept.
"""

from __future__ import annotations

from typing import Literal

from unmask.pipeline.errors import UsageError


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
