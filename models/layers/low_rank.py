"""LoRA: frozen Linear layers with a small trained product beside them.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv 2106.09685.
Ours and not peft's: its wrappers give every tensor of the network another name
(`base_model.model...`), so that checkpoints, `--pretrained`, `--init` and the table of stages would
need a translation; here the frozen weights keep timm's names and two tensors stand beside them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.options import ModelError

# The products of attention, as timm names them: fused or one by one.
PLACES = ("attn.qkv", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.proj")


class LowRank(nn.Linear):
    """y = W x + b + (alpha / rank) B A x, where only A (rank, in) and B (out, rank) learn.

    B starts at zero, so that the start is the frozen layer exactly. Section 4.1 of the paper.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        where = base.weight.device
        self.down = nn.Parameter(torch.empty(rank, base.in_features, device=where))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=where))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, input: Tensor) -> Tensor:
        change = F.linear(F.linear(input, self.down), self.up)
        return super().forward(input).add_(change, alpha=self.scale)

    def merged(self) -> nn.Linear:
        """A plain layer that computes the same, for export."""
        plain = nn.Linear(
            self.in_features, self.out_features, self.bias is not None, device=self.weight.device
        )
        with torch.no_grad():
            plain.weight.copy_(self.weight + self.scale * self.up @ self.down)
            if self.bias is not None:
                plain.bias.copy_(self.bias)
        return plain


def add_low_rank(network: nn.Module, rank: int, alpha: float) -> None:
    """Put LowRank in the place of every projection of attention. Raises ModelError where the
    network has none.
    """
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(PLACES)
    ]
    if not found:
        raise ModelError("tune=lora: this backbone has no attention; take tune=norm or tune=full")
    for name in found:
        parent, _, child = name.rpartition(".")
        attention = network.get_submodule(parent)
        setattr(attention, child, LowRank(getattr(attention, child), rank, alpha))
        if hasattr(attention, "qkv_bias_separate"):
            # EVA's attention else takes the weight out of the layer and never calls it
            attention.qkv_bias_separate = True


def merge_low_rank(network: nn.Module) -> None:
    """Put plain layers that compute the same in the place of every LowRank."""
    for name, module in list(network.named_modules()):
        if isinstance(module, LowRank):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, module.merged())
