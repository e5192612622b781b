"""encoder: timm's feature, what learns of it for each `tune`, how frames are joined."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from unmask.models import create_model
from unmask.models.layers.low_rank import LowRank
from unmask.models.options import ModelError
from unmask.models.recipes.losses import total_loss
from unmask.models.recipes.recipes import get_recipe
from unmask.models.weights import WeightsError, load_pretrained

VIT, VIT3 = "test_vit.r160_in1k", "test_vit3.r160_in1k"
SMALL = {"backbone": VIT, "size": 64}
# A class token, attention pooling, rotary positions without a fused bias, LayerNorms over pictures.
KINDS = (VIT, VIT3, "pe-core-t", "convnext_atto.d2_in1k")


def small(seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("encoder", **{**SMALL, **options}).eval()


def clip(frames: int = 1, batch: int = 4, side: int = 64) -> torch.Tensor:
    torch.manual_seed(9)
    return torch.randn(batch, frames, 3, side, side)


def learnt(model: nn.Module, tune: str) -> set[str]:
    """Names of the parameters that shall learn, found independently of the model's code."""
    names = set()
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        of_encoder = name.startswith("encoder.")
        if (
            not of_encoder
            or tune == "full"
            or (tune == "norm" and type(owner).__name__.startswith("LayerNorm"))
            or (tune == "lora" and name.endswith((".down", ".up")))
        ):
            assert parameter.numel()
            names.add(name)
    return names


def test_its_feature_is_timms_and_of_unit_length() -> None:
    model = small()
    network = timm.create_model("test_vit", num_classes=0, img_size=64, global_pool="token").eval()
    network.load_state_dict(model.encoder.state_dict())
    pictures = clip()
    with torch.no_grad():
        found, feature = model.outputs(pictures), network(pictures[:, 0])
        unit = feature / feature.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found["feature"], unit, rtol=1e-5, atol=1e-6)
        expected = unit @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(found["logits"], expected, rtol=1e-5, atol=1e-6)
        plain = small(conditioning="none")
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(plain.outputs(pictures)["feature"], feature)


def test_the_published_size() -> None:
    with torch.device("meta"):
        model = create_model("encoder")
    sizes = [p.numel() for p in model.parameters() if p.requires_grad]
    assert sum(sizes) == 102_400 + 2 * 1024 + 2  # GenD, table of CLIP ViT-L/14
    assert sum(p.numel() for p in model.encoder.parameters()) == 303_179_776


@pytest.mark.parametrize("tune", ["norm", "none", "lora", "full"])
@pytest.mark.parametrize("backbone", KINDS)
def test_gradients_reach_exactly_what_is_to_learn(backbone: str, tune: str) -> None:
    if (backbone, tune) == (KINDS[-1], "lora"):
        with pytest.raises(ModelError, match="has no attention"):
            small(backbone=backbone, tune=tune)
        return
    model = small(backbone=backbone, tune=tune).train()
    for layer in model.modules():
        if isinstance(layer, LowRank):
            nn.init.normal_(layer.up, std=0.02)  # at zero, the other factor has no gradient yet
    before = {name: value.clone() for name, value in model.named_parameters()}
    recipe = get_recipe("encoder", "gend")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    terms = total_loss(recipe.loss, model.outputs(clip()), torch.tensor([0, 1, 1, 0]))
    assert set(terms) == {"loss", "cls", "uni", "ali"}
    terms["loss"].backward()
    wanted = learnt(model, tune)
    assert {n for n, p in model.named_parameters() if p.grad is not None} == wanted
    assert {n for n, p in model.named_parameters() if p.requires_grad} == wanted
    # biases of keys cancel in the softmax, so that theirs are zero but for rounding
    assert all(p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n in wanted)
    optimizer.step()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed <= wanted
    # ConvNeXt's branches start at 1e-6 of their strength: such a step is lost beside a gain of 1
    assert changed == wanted or tune == "full" or backbone == KINDS[-1]


def test_nothing_of_a_frozen_encoder_is_kept_for_the_way_back() -> None:
    model = small(tune="none").train()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        features = model.frame_features(clip())
        assert not kept and not features.requires_grad
        model.outputs(clip())["logits"].sum().backward()
    assert max(kept) <= 4 * 2 * features.shape[-1]
    assert not model.encoder.training and model.head.training


@pytest.mark.parametrize("pool", ["mean", "logits", "attention"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_stored_features_answer_as_their_pictures_do(pool: str, head: str) -> None:
    model = small(pool=pool, head=head, frames=3)
    pictures = clip(3)
    with torch.no_grad():
        features = model.frame_features(pictures)
        assert features.shape == (4, 3, 64)
        torch.testing.assert_close(model(features), model(pictures), rtol=1e-5, atol=1e-6)
        half = model(features.half().float())
        torch.testing.assert_close(half, model(pictures), rtol=0, atol=2e-3)
        alike = pictures[:, :1].expand(-1, 3, -1, -1, -1)
        torch.testing.assert_close(model(alike), model(pictures[:, :1]), rtol=1e-4, atol=1e-5)
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(model(pictures[:, order]), model(pictures), rtol=1e-4, atol=1e-5)


def test_the_pools_are_their_formulas() -> None:
    mean, attention = small(frames=3), small(frames=3, pool="attention")
    frames = torch.randn(2, 3, 64)
    with torch.no_grad():
        unit = frames / frames.norm(dim=2, keepdim=True)
        joined = unit.mean(1)
        expected = joined / joined.norm(dim=1, keepdim=True)
        torch.testing.assert_close(mean.outputs(frames)["feature"], expected)
        scores = torch.tanh(unit @ attention.pool.hidden.weight.T) @ attention.pool.weight.weight.T
        share = scores.exp() / scores.exp().sum(1, keepdim=True)
        joined = (share * unit).sum(1)
        expected = joined / joined.norm(dim=1, keepdim=True)
        torch.testing.assert_close(attention.outputs(frames)["feature"], expected)
        torch.testing.assert_close(mean(3 * frames), mean(frames))  # length does not count


def test_frames_decide_what_is_taken_from_the_cache() -> None:
    modes = [small(frames=n).spec.mode for n in (1, 2, 5, 6)]
    assert modes == ["single", "consecutive", "consecutive", "sparse"]
    with pytest.raises(ModelError, match="must be at least 1"):
        small(frames=0)


def test_positions_are_resampled_for_the_side_and_frozen_weights_load_below_lora(
    tmp_path, monkeypatch
) -> None:
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    torch.manual_seed(3)
    at_160 = timm.create_model("test_vit", num_classes=0)
    model = small(tune="lora")
    with pytest.raises(WeightsError) as caught:
        load_pretrained(model)
    text = str(caught.value)
    assert (
        "huggingface.co/timm/test_vit.r160_in1k at weights/test_vit.r160_in1k.safetensors" in text
    )
    assert "\n" not in text
    (tmp_path / "weights").mkdir()
    save_file(at_160.state_dict(), tmp_path / "weights" / "test_vit.r160_in1k.safetensors")
    (report,) = load_pretrained(model)
    assert not report.reshaped and not report.unexpected
    assert {name.rpartition(".")[2] for name in report.missing} == {"down", "up"}
    assert torch.equal(model.encoder.blocks[0].attn.qkv.weight, at_160.blocks[0].attn.qkv.weight)
    assert model.encoder.pos_embed.shape[1] == 1 + 4 * 4
    (tmp_path / "weights" / "test_vit.r160_in1k.safetensors").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"not the weights of timm's test_vit\.r160_in1k"):
        load_pretrained(model)


def test_a_clip_of_another_side_is_refused() -> None:
    with pytest.raises(ModelError, match=r"expected a clip \(B, T, 3, 64, 64\)"):
        small()(torch.zeros(1, 1, 3, 32, 32))
    with pytest.raises(ModelError, match=r"expected features \(B, T, 64\)"):
        small()(torch.zeros(1, 1, 32))
