"""M2TR against its plain transcription, its published sizes, and what each brick must do by its
formula.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_m2tr import PlainM2TR, PlainPatchAttention, PlainStage
from unmask.models.layers.attention import (
    CrossAttention,
    PatchAttention,
    attend_patches,
    to_map,
    to_tokens,
)
from unmask.models.layers.bands import Bands
from unmask.models.layers.spectrum import GlobalFilter
from unmask.models.m2tr import M2TR, BandFusion, FilterStage, MaskDecoder
from unmask.models.options import ModelError
from unmask.models.spec import NORMS
from unmask.models.vtf import VTF


def tiny(**options: object) -> M2TR:
    torch.manual_seed(0)
    return M2TR(**{**M2TR.small, **options}).eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def spread(module: nn.Module) -> nn.Module:
    """Give BatchNorm statistics that are not those of a fresh network, so that forgetting one
    shows.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return module


# Sizes as published: parameters by part, and MACs at three sides with the one-token heads counted
# (4 S^2).
@pytest.mark.parametrize(
    ("side", "parameters", "macs"),
    [(224, 18_184_010, 4_704_555_744), (320, 18_607_946, 14_945_623_392)],
)
def test_fft_has_the_published_parameters_and_macs(side: int, parameters: int, macs: int) -> None:
    with torch.device("meta"):
        model, clip = M2TR(variant="fft", side=side).eval(), torch.empty(1, 1, 3, side, side)
    assert count(model) == parameters
    with FlopCounterMode(display=False) as counter:
        model(clip)
    assert counter.get_total_flops() // 2 == macs - 4 * side**2


def test_fft_parameters_by_part() -> None:
    with torch.device("meta"):
        model = M2TR(variant="fft", side=320)
        decoder = MaskDecoder(32)
    stage = model.stages[0]
    assert (
        len(model.stages) == 4
        and count(model.backbone) == 17_548_616
        and count(model.head) == 3_586
    )
    assert (
        count(stage.transformer) == 31_104
        and count(stage.filter) == 209_920
        and count(stage.feed) == 18_624
    )
    assert count(stage.cross) + count(stage.out) == 4_288 and count(decoder) == 16_337


@pytest.mark.parametrize("train", [True, False])
def test_fft_equals_its_plain_transcription(train: bool) -> None:
    ours = spread(tiny(variant="fft", depth=2)).double()
    plain = PlainM2TR(64, 2, "test_efficientnet").double().train(train)
    plain.load_state_dict(ours.state_dict())
    ours.train(train)
    for model in (ours, plain):  # what is drawn at random in training
        model.dropout.p = 0.0
        for module in model.modules():
            if hasattr(module, "drop_prob"):
                module.drop_prob = 0.0
    images = torch.randn(3, 3, 64, 64, dtype=torch.double)
    torch.testing.assert_close(ours(images[:, None]), plain(images), atol=1e-12, rtol=1e-9)


def test_stage_gradients_equal_the_plain_ones() -> None:
    torch.manual_seed(0)
    ours, plain = FilterStage(8, 16, "sequential"), PlainStage(8, 16)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 16, 16)
    for module in (ours, plain):
        module(x).square().mean().backward()
    pairs = zip(ours.named_parameters(), plain.parameters(), strict=True)
    for (name, mine), theirs in pairs:
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_tokens_fold_back_to_the_map() -> None:
    x = torch.randn(2, 4, 16, 24)
    for grid in (1, 2, 4, 8):
        tokens = to_tokens(x, grid)
        assert tokens.shape == (2, grid * grid, 4 * 16 * 24 // grid**2)
        assert torch.equal(to_map(tokens, grid, 16, 24), x)
    # token 1 of a 2 x 2 grid is the upper right quarter
    assert torch.equal(to_tokens(x, 2)[:, 1].sum(-1), to_tokens(x[..., :8, 12:], 1)[:, 0].sum(-1))


def test_attention_with_one_token_is_a_linear_map() -> None:
    q, k, v, w = torch.randn(4, 2, 4, 8, 8)
    one = attend_patches(q, k, v, 1)
    torch.testing.assert_close(
        attend_patches(k, q, 2 * v + w, 1), 2 * one + attend_patches(q, k, w, 1)
    )
    # the first quarter of the heads' channels therefore adds up over inputs, the others do not
    attention = PatchAttention(16).double()
    nn.init.zeros_(attention.qkv.bias)
    x, y = torch.randn(2, 1, 16, 8, 8, dtype=torch.double)
    gap = (
        (attention.attend(x + y) - attention.attend(x) - attention.attend(y)).abs().amax((0, 2, 3))
    )
    assert gap[:4].max() < 1e-12 and gap[4:].min() > 1e-4


def test_patch_attention_equals_the_explicit_one() -> None:
    ours, plain = spread(PatchAttention(32)).eval(), PlainPatchAttention(32).eval()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 32, 16, 16)
    torch.testing.assert_close(ours(x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [None, "map"])
def test_cross_attention_is_softmax_of_query_and_key_times_value(scale: str | None) -> None:
    cross = CrossAttention(8, scale).double()
    query, other = torch.randn(2, 2, 8, 6, 10, dtype=torch.double) * 3
    q, (k, v) = (
        cross.query(query).flatten(2),
        cross.key_value(other).flatten(2).chunk(2, 1),
    )  # (N, C, H*W)
    factor = 8**-0.5 if scale is None else (6 * 10 * 8) ** -0.5
    weights = torch.softmax(torch.einsum("ncq,nck->nqk", q, k) * factor, -1)
    expected = torch.einsum("nqk,nck->ncq", weights, v).unflatten(2, (6, 10))
    torch.testing.assert_close(cross(query, other), expected, atol=1e-10, rtol=1e-8)


def test_filter_with_unit_weights_is_the_identity() -> None:
    unit = GlobalFilter(3, 16)
    with torch.no_grad():
        unit.weight.copy_(torch.tensor([1.0, 0.0]).expand_as(unit.weight))
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(unit(x), x, atol=1e-5, rtol=0)


def test_filter_keeps_one_frequency_and_moves_a_map_by_phase() -> None:
    unit = GlobalFilter(1, 16).requires_grad_(False)
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16).expand(1, 1, 16, 16)
    unit.weight.zero_()
    unit.weight[0, 0, 3, 0] = 1
    torch.testing.assert_close(unit(wave + 5 + wave.transpose(2, 3)), wave, atol=1e-5, rtol=0)
    shift = torch.exp(-2j * torch.pi * torch.arange(9) / 16)  # one column to the right
    unit.weight.copy_(torch.view_as_real(shift.expand(1, 16, 9)))
    x = torch.randn(1, 1, 16, 16)
    # the highest frequency has no phase on a real grid, so leave it out of both
    x = torch.fft.irfft2(torch.fft.rfft2(x) * (torch.arange(9) < 8))
    torch.testing.assert_close(unit(x), x.roll(1, 3), atol=1e-5, rtol=0)


def test_filter_survives_channels_last_and_autocast_in_float32() -> None:
    one = GlobalFilter(4, 16)
    x = torch.randn(2, 4, 16, 16)
    before = one(x)
    one.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(one(x), before) and one(x.bfloat16()).dtype == torch.float32


def test_mask_has_the_pictures_size_and_one_channel() -> None:
    found = tiny(mask=True).outputs(torch.randn(2, 3, 3, 64, 64))
    assert found["mask"].shape == (2, 3, 1, 64, 64)
    assert found["feature"].shape == (2, 256) and found["frame_feature"].shape == (2, 3, 256)
    assert "mask" not in tiny().outputs(torch.randn(1, 1, 3, 64, 64))
    assert tiny(mask=True).spec.masks and not tiny().spec.masks


@pytest.mark.parametrize("variant", ["dct", "fft"])
def test_frames_share_the_network_and_their_features_are_averaged(variant: str) -> None:
    model, clip = tiny(variant=variant), torch.randn(2, 3, 3, 64, 64)
    found = model.outputs(clip)
    alone = torch.stack([model.outputs(clip[:, t : t + 1])["feature"] for t in range(3)], 1)
    torch.testing.assert_close(found["frame_feature"], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["logits"], model.head(alone.mean(1)), atol=1e-5, rtol=1e-4)


def test_given_bands_and_own_bands_give_the_same_logits() -> None:
    model, clip = tiny(), torch.randn(1, 2, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMS["imagenet"])
    bands = Bands(64)(clip * std + mean)
    torch.testing.assert_close(model(clip, bands), model(clip), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(clip, bands.flip(2)), model(clip), atol=1e-6)


def test_dct_fusion_is_the_papers_sum() -> None:
    fusion = spread(BandFusion(8)).eval()
    texture, bands = torch.randn(1, 8, 16, 16), torch.randn(1, 9, 64, 64)
    f_fq = fusion.frequency(bands)
    assert f_fq.shape == texture.shape
    f_mt, f_fuse = fusion.transformer(texture), fusion.cross(texture, f_fq)
    torch.testing.assert_close(fusion(texture, bands), fusion.join(texture + f_mt + f_fuse))


def test_every_combination_of_options_trains_every_parameter() -> None:
    for band, chosen in itertools.product(
        ["area", "linear", "linear_f3net", "radial"], ["fixed", "learnable"]
    ):
        model = tiny(band=band, filter=chosen).train()
        assert model.spec.bands == (band if chosen == "fixed" else None)
    for options in (
        {"filter": "learnable", "mask": True},
        {"variant": "fft", "wiring": "parallel", "mask": True},
    ):
        model = tiny(**options).train()
        found = model.outputs(torch.randn(2, 1, 3, 64, 64))
        (found["logits"].square().sum() + found["mask"].square().sum()).backward()
        assert [
            name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
        ] == []


def test_parallel_wiring_lets_the_input_ask() -> None:
    stage = spread(FilterStage(8, 8, "parallel")).eval()
    x = torch.randn(1, 8, 8, 8)
    expected = stage.transformer(x) + stage.out(stage.cross(x, x + stage.feed(stage.filter(x))))
    torch.testing.assert_close(stage(x), expected)


def test_sides_say_how_they_come_from_the_cache_and_bad_ones_are_refused() -> None:
    assert (tiny(side=224).spec.fit, tiny(side=320).spec.fit, tiny(side=224).spec.size) == (
        "crop",
        "resize",
        224,
    )
    for side in (240, 16, 0):
        with pytest.raises(ModelError, match=f"side {side} is not a multiple of 32; use 224"):
            tiny(side=side)
    with pytest.raises(
        ModelError, match="built for pictures of 64 px, got 96 px; build it with side=96"
    ):
        tiny(variant="fft")(torch.randn(1, 1, 3, 96, 96))
    with pytest.raises(
        ModelError, match=r"expected a clip \(B, T, 3, S, S\), got \(1, 3, 64, 64\)"
    ):
        tiny()(torch.randn(1, 3, 64, 64))
    with pytest.raises(ModelError, match=r"expected bands \(1, 1, 9, 64, 64\) beside this clip"):
        tiny()(torch.randn(1, 1, 3, 64, 64), torch.randn(1, 1, 3, 64, 64))
    # given its bands, the fixed dct network is bound to no side
    assert tiny()(torch.randn(1, 1, 3, 96, 96), torch.randn(1, 1, 9, 96, 96)).shape == (1, 2)


@pytest.mark.parametrize("variant", [pytest.param("dct", marks=pytest.mark.slow), "fft"])
def test_forward_compiles_as_one_graph_and_runs_in_bfloat16(variant: str) -> None:
    model, clip = tiny(variant=variant, mask=True), torch.randn(1, 2, 3, 64, 64)
    torch._dynamo.reset()
    with torch.no_grad():
        exact = model(clip)
        with torch.autocast("cpu", torch.bfloat16):
            rough = torch.compile(model, backend="eager", fullgraph=True)(clip)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


def test_vtf_reads_order_and_refuses_more_frames_than_positions() -> None:
    torch.manual_seed(0)
    head = VTF(feature=24, frames=6, width=16, layers=2, heads=2, mlp=32).eval()
    features = torch.randn(3, 6, 24)
    logits = head(features)
    assert logits.shape == (3, 2) and head(features[:, :4]).shape == (3, 2)
    assert not torch.allclose(head(features.flip(1)), logits, atol=1e-6)
    torch.testing.assert_close(head(features[[2, 0, 1]]), logits[[2, 0, 1]])
    with pytest.raises(ModelError, match="7 frames, but only 6 positions"):
        head(torch.randn(1, 7, 24))
    with pytest.raises(ModelError, match=r"expected features \(B, T, 24\), got \(1, 6, 20\)"):
        head(torch.randn(1, 6, 20))
    assert count(VTF()) == 13_538_818


def test_vtf_answers_for_the_frames_of_a_video_in_their_order() -> None:
    torch.manual_seed(0)
    model = M2TR(**{**M2TR.small, "frames": 4, "video": "vtf"}).eval()
    assert (model.spec.mode, model.spec.frames) == ("sparse", 4)
    clip = torch.randn(2, 4, 3, 64, 64)
    with torch.no_grad():
        found = model.outputs(clip)
        assert torch.equal(found["logits"], model.vtf(found["frame_feature"]))
        assert not torch.allclose(model(clip.flip(1)), found["logits"], atol=1e-5)
    with pytest.raises(ModelError, match="frames=1 is too few for video=vtf"):
        M2TR(**M2TR.small, video="vtf")


def test_the_mean_over_frames_is_the_mean_of_their_logits() -> None:
    torch.manual_seed(0)
    model = M2TR(**{**M2TR.small, "frames": 3}).eval()
    clip = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        each = torch.stack([model(clip[:, [frame]]) for frame in range(3)])
        torch.testing.assert_close(model(clip), each.mean(0), atol=1e-5, rtol=1e-4)


def test_the_mask_decoder_bends_twice_before_its_last_convolution() -> None:
    torch.manual_seed(0)
    decoder = MaskDecoder(8)
    x = torch.randn(2, 8, 6, 6)
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    bend = nn.LeakyReLU(0.2)
    first = nn.Sequential(up, decoder.first, bend, decoder.second, bend)  # the released blocks
    second = nn.Sequential(up, decoder.third, bend, bend, decoder.last)
    torch.testing.assert_close(decoder(x), second(first(x)))
