"""What fused attention and channels-last memory gain in ViT-B and TALL-Swin: a training step of one
picture, published widths and token counts, fewer blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.rows import Row, alternate
from unmask.models import create_model

ROUNDS = 3
BLOCKS = 3  # of ViT's twelve
LAYERS = "2-2-2-2"  # of TALL-Swin's 2-2-18-2


def network(name: str, plain: bool) -> nn.Module:
    """The network with few blocks, in the form that is measured."""
    torch.manual_seed(0)
    attention = "plain" if plain else "fused"
    if name == "vit":
        model = create_model(name, attention=attention)
        model.backbone.blocks = model.backbone.blocks[:BLOCKS]
    else:
        model = create_model(name, attention=attention, clips=1, width=128, layers=LAYERS)
    kind = torch.contiguous_format if plain else torch.channels_last
    return model.train().to(memory_format=kind)


def step(model: nn.Module, half: bool = False) -> Callable[[], None]:
    """Forward and backward of one sample."""
    spec = model.spec
    clip = torch.randn(1, spec.frames, 3, spec.size, spec.size)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(clip).float().square().sum()
        loss.backward()

    return run


def rows() -> list[Row]:
    """Ratios plain / fused of a step's CPU time, float32 and bf16."""
    found = []
    for name, title in (("vit", f"ViT-B, {BLOCKS} blocks"), ("tall_swin", f"TALL-Swin {LAYERS}")):
        fused = network(name, plain=False)
        runs = {"plain": step(network(name, plain=True)), "float32": step(fused)}
        # where bf16 is emulated a step takes a minute: one round says so
        half = alternate({"bf16": step(fused, half=True)}, 1)["bf16"].cpu
        seconds = {key: one.cpu for key, one in alternate(runs, ROUNDS).items()} | {"bf16": half}
        for kind, target in (("float32", 1.3), ("bf16", 2.0)):
            found.append(
                Row(
                    f"{title}, training step, fused attention and channels-last, {kind}",
                    "plain attention, float32",
                    seconds["plain"] / seconds[kind],
                    target,
                    f"{1000 * seconds['plain']:.0f} ms, {1000 * seconds[kind]:.0f} ms",
                )
            )
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
