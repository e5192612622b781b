"""The counting itself, on networks one can count by hand; the published numbers are with each
model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unmask.models.cost import count, measure_cost
from unmask.models.spec import ClipSpec


class Drawn(nn.Module):
    """A convolution, a list of linear layers never called as a list, an attention without a module
    of its own.
    """

    spec = ClipSpec("single", 2, size=8)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.dense = nn.ModuleList([nn.Linear(5, 7), nn.Linear(7, 2)])

    def forward(self, clip):
        x = self.norm(self.conv(clip.flatten(0, 1)))  # (2, 5, 4, 4)
        tokens = x.flatten(2).transpose(1, 2)[:, None]  # (2, 1, 16, 5)
        x = F.scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))
        for layer in self.dense:
            x = layer(x)
        return x


def test_counts_a_network_by_hand():
    with torch.device("meta"):
        cost = count(Drawn().eval(), (1, 2, 3, 8, 8), depth=2)
    stages = {stage.name: stage for stage in cost.stages}
    conv = 2 * 4 * 4 * 5 * 3 * 9
    dense = 2 * (5 * 7 + 7 * 2)
    attention = 2 * 2 * 16 * 16 * 5
    assert stages["conv"].macs == conv
    assert stages["dense"].macs == dense == stages["dense.0"].macs + stages["dense.1"].macs
    assert cost.total.macs == conv + dense + attention
    assert stages["norm"].parameters == stages["norm"].statistics == 10
    assert stages["conv"].output == (2, 5, 4, 4)
    assert cost.total.parameters == 3 * 5 * 9 + 5 + 10 + 5 * 7 + 7 + 7 * 2 + 2


def test_meta_and_real_tensors_count_alike():
    options = {"width": 8, "frames": 2, "size": 48}
    from unmask.models import create_model

    real = count(create_model("clrnet", **options).eval(), (1, 2, 3, 48, 48))
    assert measure_cost("clrnet", **options) == real


def test_macs_grow_with_the_clip():
    one = measure_cost("clrnet", width=8, clip=(1, 2, 3, 48, 48)).total.macs
    assert measure_cost("clrnet", width=8, clip=(2, 2, 3, 48, 48)).total.macs == 2 * one
