"""encoder: a timm Vision Transformer whose unit feature meets one linear layer."""

from __future__ import annotations

import pytest
import timm
import torch

from unmask.models import create_model
from unmask.models.options import ModelError
from unmask.models.recipes.recipes import get_recipe
from unmask.models.spec import NORMS

SMALL = {"backbone": "test_vit.r160_in1k", "size": 64}


def test_its_feature_is_timms_and_of_unit_length() -> None:
    torch.manual_seed(0)
    model = create_model("encoder", **SMALL).eval()
    network = timm.create_model("test_vit", num_classes=0, img_size=64, global_pool="token").eval()
    network.load_state_dict(model.encoder.state_dict())
    clip = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        found, feature = model.outputs(clip), network(clip[:, 0])
        unit = feature / feature.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found["feature"], unit, rtol=1e-5, atol=1e-6)
        expected = unit @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(found["logits"], expected, rtol=1e-5, atol=1e-6)
        plain = create_model("encoder", **SMALL, conditioning="none").eval()
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(plain.outputs(clip)["feature"], feature, rtol=1e-5, atol=1e-6)


def test_the_published_size_and_its_norms() -> None:
    with torch.device("meta"):
        model = create_model("encoder")
    sizes = [
        sum(p.numel() for p in m.parameters())
        for m in model.modules()
        if isinstance(m, torch.nn.LayerNorm)
    ]
    assert (len(sizes), sum(sizes)) == (50, 102_400)  # GenD, table of CLIP ViT-L/14
    assert sum(p.numel() for p in model.encoder.parameters()) == 303_179_776
    cfg = timm.get_pretrained_cfg("vit_large_patch14_clip_quickgelu_224.openai")
    assert NORMS[model.spec.norm] == (cfg.mean, cfg.std)


def test_the_recipe_trains_layer_norms_and_head_only() -> None:
    from fnmatch import fnmatch

    patterns = get_recipe("encoder", "norms").trained
    with torch.device("meta"):
        model = create_model("encoder")
    trained = {
        name for name, _ in model.named_parameters() if any(fnmatch(name, p) for p in patterns)
    }
    norms = {
        f"{name}.{word}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for word in ("weight", "bias")
    }
    assert trained == norms | {"head.weight", "head.bias"}


def test_a_side_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(ModelError, match="size 240 is not a multiple of its patch of 14 px"):
        create_model("encoder", size=240)
    with pytest.raises(ModelError, match=r"expected a clip \(B, T, 3, 64, 64\)"):
        create_model("encoder", **SMALL)(torch.zeros(1, 1, 3, 32, 32))
