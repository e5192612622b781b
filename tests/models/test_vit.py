"""vit: timm's Vision Transformer with two classes, its published size, weights for other sides."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor

from unmask.models import create_model, weights
from unmask.models.cost import measure_cost
from unmask.models.options import ModelError
from unmask.models.spec import NORMS, ClipSpec
from unmask.models.weights import load_pretrained, load_tensors
from unmask.pipeline.reports.heat import extra_tokens

TEST_VIT = "test_vit.r160_in1k"
# sheet of parts: patches, class token, positions, 12 blocks, last norm, head
PARTS = (590_592, 768, 151_296, 12 * 7_087_872, 1_536, 1_538)


def tiny(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("vit", backbone=TEST_VIT, **{"size": 64, **options}).eval()


def test_the_published_size_and_cost() -> None:
    total = measure_cost("vit").total
    assert total.parameters == sum(PARTS) == 85_800_194
    assert total.macs == 17_563_061_760
    with torch.device("meta"):
        larger = create_model("vit", size=240)
    assert sum(value.numel() for value in larger.parameters()) == 85_822_466


@pytest.mark.parametrize("attention", ["fused", "plain"])
def test_timms_weights_give_timms_own_logits_to_the_last_bit(attention: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_vit", num_classes=2, img_size=64).eval()
    for block in theirs.blocks:
        block.attn.fused_attn = attention == "fused"
    state = {
        name if name.startswith("head.") else f"backbone.{name}": value
        for name, value in theirs.state_dict().items()
    }
    model = tiny(attention=attention)
    model.load_state_dict(state)
    pictures = torch.randn(3, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    theirs.to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(model(pictures[:, None]), theirs(pictures))


def test_weights_of_another_side_come_with_their_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    large = timm.create_model("test_vit", num_classes=0, img_size=96)
    monkeypatch.setattr(weights, "fetch", lambda source: large.state_dict())
    model = tiny()
    (report,) = load_pretrained(model)
    assert not report.missing and not report.unexpected and not report.reshaped
    timms = timm.create_model("test_vit", num_classes=0, img_size=96)
    timms.load_state_dict(large.state_dict())
    timms.set_input_size(img_size=64)
    torch.testing.assert_close(model.backbone.pos_embed, timms.pos_embed)
    assert torch.equal(model.backbone.pos_embed[:, 0], large.pos_embed[:, 0])
    again = load_tensors(tiny(), model.state_dict(), "w")  # of the same side: as they are
    assert not again.reshaped and not again.missing


def test_any_of_timms_vision_transformers_is_taken_with_its_own_norm_and_side() -> None:
    with torch.device("meta"):
        model = create_model("vit", backbone="vit_small_patch14_reg4_dinov2.lvd142m", size=224)
        plain = create_model("vit", backbone="vit_base_patch16_siglip_224.v2_webli")
    assert model.spec == ClipSpec("single", 1, 224, fit="resize", norm="imagenet")
    assert extra_tokens(model) == (0, 1, 2, 3, 4) and extra_tokens(plain) == ()
    assert plain.spec.norm == "half" and NORMS["half"] == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "resnet50.a1_in1k"}, "is not of timm's vision_transformer"),
        ({"backbone": "vit_base_patch16_242"}, "did you mean 'vit_base_patch16_224'"),
        ({"backbone": "vit_base_patch16_clip_quickgelu_224"}, "does not name weights of timm"),
        ({"backbone": "vit_base_patch16_224.mine"}, "vit_base_patch16_224.augreg"),
        ({"size": 250}, "size 250 is not a multiple of its patch of 16 px"),
        ({"backbone": TEST_VIT, "size": 90, "thumbnail": "2x2"}, "not a multiple"),
        ({"backbone": TEST_VIT, "size": 81, "thumbnail": "2x2"}, "does not divide into 2x2"),
    ],
)
def test_what_it_cannot_be_is_refused_in_words(options: dict[str, object], words: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=words) as caught:
        create_model("vit", **options)
    assert "\n" not in str(caught.value)


def test_a_clip_of_another_side_is_refused() -> None:
    with pytest.raises(ModelError, match=r"vit: expected a clip \(B, T, 3, 64, 64\)"):
        tiny()(torch.zeros(1, 1, 3, 32, 32))


def test_a_thumbnail_is_the_picture_of_its_four_frames() -> None:
    model, whole = tiny(thumbnail="2x2"), tiny()
    whole.load_state_dict(model.state_dict())
    assert model.spec == ClipSpec("consecutive", 4, 32, fit="resize", norm="half")
    frames = torch.randn(2, 4, 3, 32, 32)

    def stitched(four: Tensor) -> Tensor:
        return torch.cat([torch.cat([*four[:2]], -1), torch.cat([*four[2:]], -1)], -2)

    pictures = torch.stack([stitched(four) for four in frames])[:, None]
    with torch.no_grad():
        torch.testing.assert_close(model(frames), whole(pictures))


def test_decay_leaves_vectors_positions_and_tokens_alone() -> None:
    model = tiny()
    assert {"backbone.pos_embed", "backbone.cls_token", "head.bias"} <= model.no_decay
    assert "backbone.blocks.0.norm1.weight" in model.no_decay
    assert not {"head.weight", "backbone.blocks.0.attn.qkv.weight"} & model.no_decay
