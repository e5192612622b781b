"""swin: timm's Swin Transformer with two classes, its published sizes, windows that must tile."""

from __future__ import annotations

import pytest
import timm
import torch

from unmask.models import create_model
from unmask.models.cost import measure_cost
from unmask.models.options import ModelError
from unmask.models.swin import Swin

SMALL = {"embed_dim": 32, "depths": (2, 1), "num_heads": (1, 2), "img_size": 56}


def tiny(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("swin", **{**Swin.small, **options}).eval()


@pytest.mark.parametrize(
    ("backbone", "parameters", "macs"),
    [
        ("swin_tiny_patch4_window7_224.ms_in1k", 27_520_892, 4_489_800_192),
        ("swin_base_patch4_window7_224.ms_in22k", 86_745_274, 15_429_924_864),
    ],
)
def test_the_published_sizes_and_costs(backbone: str, parameters: int, macs: int) -> None:
    total = measure_cost("swin", backbone=backbone).total
    assert (total.parameters, total.macs) == (parameters, macs)


def test_timms_weights_give_timms_own_logits_to_the_last_bit() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=2, **SMALL).eval()
    state = {}
    for name, value in theirs.state_dict().items():
        state[name.replace("head.fc", "head") if "head" in name else f"backbone.{name}"] = value
    model = tiny(attention="plain")  # as timm has it by itself
    model.load_state_dict(state)
    pictures = torch.randn(3, 3, 56, 56).contiguous(memory_format=torch.channels_last)
    theirs.to(memory_format=torch.channels_last)
    fused = tiny()
    fused.load_state_dict(state)
    with torch.no_grad():
        truth = theirs(pictures)
        assert torch.equal(model(pictures[:, None]), truth)
        torch.testing.assert_close(fused(pictures[:, None]), truth, rtol=1e-4, atol=1e-5)


def test_both_attentions_give_the_same_gradients() -> None:
    plain, other = (tiny(attention=word, drop_path=0.0) for word in ("plain", "fused"))
    other.load_state_dict(plain.state_dict())
    pictures = torch.randn(2, 1, 3, 56, 56)
    for model in (plain, other):
        model(pictures).square().sum().backward()
    for (name, mine), theirs in zip(plain.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, mine.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 240}, "maps are 60, 30, 15, 8 places wide, which windows of 7, 7, 7, 7 do not"),
        ({"width": 48}, "width 48 is not a multiple of 32"),
        ({"layers": "2-x"}, "layers '2-x' are not numbers like 2-2-6-2"),
        ({"backbone": "vit_base_patch16_224.augreg_in21k"}, "is not of timm's swin_transformer"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, "does not name weights of timm"),
    ],
)
def test_what_it_cannot_be_is_refused_in_words(options: dict[str, object], words: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=words):
        create_model("swin", **options)


def test_decay_leaves_vectors_and_tables_of_position_biases_alone() -> None:
    model = tiny()
    table = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    assert {table, "head.bias", "backbone.norm.weight"} <= model.no_decay
    assert "backbone.layers.0.blocks.0.mlp.fc1.weight" not in model.no_decay
