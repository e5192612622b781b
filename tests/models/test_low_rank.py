"""LowRank: starts as the frozen layer, learns what the product of two matrices can, merges."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from unmask.models.layers.low_rank import LowRank, add_low_rank, merge_low_rank
from unmask.models.options import ModelError

# Attention with a fused qkv, EVA's with its bias apart (which reads the weight itself), EVA's with
# rotary positions.
KINDS = ("test_vit", "eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384")


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    side = {"img_size": 56 if "patch14" in kind else 64}
    return timm.create_model(kind, num_classes=0, **side).eval()


def test_the_formula_written_out() -> None:
    torch.manual_seed(1)
    base = nn.Linear(5, 7).double()
    layer = LowRank(base, rank=2, alpha=3.0).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), base(x), rtol=0, atol=0)
    nn.init.normal_(layer.up)
    change = 3.0 / 2 * layer.up @ layer.down
    expected = x @ (base.weight + change).T + base.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.merged().double()(x), expected, rtol=1e-6, atol=1e-6)
    assert sum(p.numel() for p in (layer.down, layer.up)) == 2 * (5 + 7)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_exact_gets_gradients_everywhere_and_merges(kind: str) -> None:
    plain, tuned = network(kind), network(kind)
    add_low_rank(tuned, rank=2, alpha=4.0)
    side = 56 if "patch14" in kind else 64
    picture = torch.randn(2, 3, side, side)
    layers = [m for m in tuned.modules() if isinstance(m, LowRank)]
    with torch.no_grad():
        torch.testing.assert_close(tuned(picture), plain(picture), rtol=1e-5, atol=1e-5)
    assert set(plain.state_dict()) <= set(tuned.state_dict())  # names stay, so weights load
    for layer in layers:
        nn.init.normal_(layer.up, std=0.02)
    tuned(picture).square().sum().backward()
    assert layers and all(layer.down.grad.abs().sum() > 0 for layer in layers)
    assert all(layer.up.grad.abs().sum() > 0 for layer in layers)
    with torch.no_grad():
        before = tuned(picture)
        merge_low_rank(tuned)
        assert set(tuned.state_dict()) == set(plain.state_dict())
        torch.testing.assert_close(tuned(picture), before, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(before, plain(picture), atol=1e-3)


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(ModelError, match="has no attention"):
        add_low_rank(nn.Sequential(nn.Linear(3, 3)), 2, 4.0)
