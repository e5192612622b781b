"""STIL against its plain transcription, its published sizes, and what each module must do to a
drawn edge.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.plain_stil import PlainSTIL, load
from unmask.models.cost import measure_cost
from unmask.models.options import ModelError
from unmask.models.stil import ISM, SIM, STIL, TIM, Plane, Shift, resnet50d_name

# Parameters and MACs of 8 frames of 224 x 224, as measured on the released network.
PARAMETERS = {
    "stem": 28_768,
    "layer1": 208_665,
    "layer2": 1_177_868,
    "layer3": 6_837_266,
    "layer4": 14_431_753,
    "head": 4_098,
}
MACS = {
    "stem": 2_861_236_224,
    "layer1": 4_704_102_656,
    "layer2": 9_493_857_280,
    "layer3": 12_539_844_096,
    "layer4": 7_932_062_208,
}


@pytest.fixture
def tiny() -> STIL:
    torch.manual_seed(0)
    return STIL(**STIL.small)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_published_ones_by_stage_and_by_module() -> None:
    with torch.device("meta"):
        model = STIL()
    assert {name: count(getattr(model, name)) for name in PARAMETERS} == PARAMETERS
    assert count(model) == 22_688_418
    by_kind = {
        k: sum(count(m) for m in model.modules() if isinstance(m, k))
        for k in (SIM, TIM, ISM, Shift)
    }
    assert by_kind == {SIM: 7_559_936, TIM: 83_120, ISM: 48, Shift: 5_664}


def test_macs_are_the_published_ones() -> None:
    cost = measure_cost("stil")
    assert {stage.name: stage.macs for stage in cost.stages if stage.name in MACS} == MACS
    # ours averages features before the head: one product of 2048 x 2 per clip, not per frame
    assert cost.total.macs == 37_531_135_232 - 7 * 4_096
    five = measure_cost("stil", clip=(1, 5, 3, 224, 224))
    assert five.total.macs == 23_456_959_520 - 4 * 4_096


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("pool", [4, 2])
def test_network_equals_its_plain_transcription(train: bool, pool: int) -> None:
    torch.manual_seed(1)
    ours = STIL(width=16, layers="1-1-1-1", sim_pool=pool).double().train(train)
    plain = PlainSTIL(16, (1, 1, 1, 1), pool).double().train(train)
    load(plain, ours.state_dict())
    clip = torch.randn(2, 3, 3, 128, 112, dtype=torch.double)
    torch.testing.assert_close(ours(clip), plain(clip), atol=1e-10, rtol=1e-8)
    ours(clip).square().sum().backward()
    plain(clip).square().sum().backward()
    # one gradient from the first and one from the middle of the network
    torch.testing.assert_close(
        ours.stem[0].weight.grad, plain.stem[0].weight.grad, atol=1e-9, rtol=1e-6
    )
    shift, plain_shift = ours.layer3[0].shift.conv.weight.grad, plain.blocks[2].shift.weight.grad
    torch.testing.assert_close(shift.squeeze(-1), plain_shift, atol=1e-9, rtol=1e-6)


def moving_edge(frames: int, speed: int = 1) -> Tensor:
    """A bright half plane whose edge moves right by `speed` px a frame, (T, 1, 8, 16)."""
    columns = torch.arange(16).expand(8, 16)
    return torch.stack([(columns < 4 + speed * t).float()[None] for t in range(frames)])


def unit_motion(plane: Plane) -> Plane:
    """Make the motion convolution the identity."""
    with torch.no_grad():
        plane.motion.weight.zero_()
        plane.motion.weight[
            :, :, plane.motion.kernel_size[0] // 2, plane.motion.kernel_size[1] // 2
        ] = 1
    return plane


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_tim_sees_the_strip_an_edge_moved_over_and_nothing_at_the_last_frame(axis: str) -> None:
    plane = unit_motion(Plane(16, axis))
    d = plane.difference(moving_edge(4, speed=2), 4)
    for t in range(3):
        expected = torch.zeros(8, 16)
        expected[:, 4 + 2 * t : 6 + 2 * t] = 1
        assert torch.equal(d[t, 0], expected)
    assert not d[3].any()
    assert not plane.difference(moving_edge(4, speed=0), 4).any()


def test_tim_differences_do_not_reach_into_the_next_clip() -> None:
    plane = unit_motion(Plane(16, "rows"))
    clips = torch.cat([moving_edge(3), moving_edge(3) + 5])
    assert torch.equal(plane.difference(clips, 3)[:3], plane.difference(moving_edge(3), 3))
    assert not plane.difference(moving_edge(1), 1).any()


def test_tim_motion_convolution_runs_along_its_own_axis() -> None:
    rows, columns = Plane(16, "rows"), Plane(16, "columns")
    with torch.no_grad():
        for plane in (rows, columns):
            plane.motion.weight.zero_()
            plane.motion.weight.view(-1)[0] = 1  # look one pixel up or left in the frame ahead
    edge = moving_edge(2, speed=0)
    # looking up an edge that is the same in every row: only the padded top row differs
    assert not rows.difference(edge, 2)[0, 0, 1:].any()
    # looking left across it: only the pixel right of the edge differs
    assert columns.difference(edge, 2)[0, 0, :, 1:].nonzero()[:, 1].unique().tolist() == [3]


def test_tim_gate_stays_within_a_half_around_one() -> None:
    tim = TIM(32).eval()
    a = torch.rand(6, 32, 8, 8) + 0.5
    ratio = tim(a * 100, 3) / (a * 100)
    assert ratio.shape == a.shape and ratio.min() > 0.49999 and ratio.max() < 1.50001


def test_sim_gate_is_a_probability_of_the_maps_size() -> None:
    sim = SIM(8, 4)
    b = torch.randn(2, 8, 14, 15) * 3
    gate = sim.gate(b)
    assert gate.shape == b.shape and gate.min() >= 0 and gate.max() <= 1
    out, s = sim(b)
    assert out.shape == s.shape == b.shape and (out >= 0).all()


def test_ism_weighs_whole_channels_between_zero_and_one() -> None:
    ism = ISM()
    s = torch.rand(2, 8, 5, 5) + 0.1
    ratio = (ism(s) / s).flatten(2)
    assert torch.allclose(ratio.amin(2), ratio.amax(2)) and ratio.min() > 0 and ratio.max() < 1


def test_shift_starts_as_an_eighth_forward_an_eighth_backward_and_the_rest_in_place() -> None:
    x = torch.randn(2, 5, 16, 3, 4)  # (B, T, C, H, W)
    got = Shift(16)(x.flatten(0, 1), 5).unflatten(0, (2, 5))
    assert torch.equal(got[:, :-1, :2], x[:, 1:, :2]) and not got[:, -1, :2].any()
    assert torch.equal(got[:, 1:, 2:4], x[:, :-1, 2:4]) and not got[:, 0, 2:4].any()
    assert torch.equal(got[:, :, 4:], x[:, :, 4:])


def test_whole_network_starts_with_the_shift_and_not_with_random_taps(tiny: STIL) -> None:
    for module in tiny.modules():
        if isinstance(module, Shift):
            assert module.conv.weight.sum() == module.conv.out_channels


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_any_number_of_frames_runs_and_their_order_matters(tiny: STIL, frames: int) -> None:
    tiny.eval()
    clip = torch.randn(2, frames, 3, 112, 112)
    found = tiny.outputs(clip)
    assert found["logits"].shape == (2, 2) and found["feature"].shape == (2, 512)
    if frames > 1:
        assert not torch.allclose(tiny(clip.flip(1)), found["logits"], atol=1e-7)


def test_frames_of_one_clip_do_not_leak_into_another(tiny: STIL) -> None:
    tiny.eval()
    clip = torch.randn(2, 3, 3, 112, 112)
    torch.testing.assert_close(tiny(clip)[:1], tiny(clip[:1]), atol=1e-5, rtol=1e-4)


def test_240_and_the_least_side_run_and_64_is_refused_in_words(tiny: STIL) -> None:
    tiny.eval()
    for side in (97, 240):
        assert tiny(torch.randn(1, 2, 3, side, side)).isfinite().all()
    message = "64 x 64 px leave a last map of 2 px, .* use a side of at least 97 px"
    with pytest.raises(ModelError, match=message):
        tiny(torch.randn(1, 2, 3, 64, 64))
    with pytest.raises(ModelError, match="at least 97 px"):
        tiny(torch.randn(1, 2, 3, 96, 240))
    with pytest.raises(
        ModelError, match=r"expected a clip \(B, T, 3, H, W\), got \(2, 3, 112, 112\)"
    ):
        tiny(torch.randn(2, 3, 112, 112))


def test_resnet50d_weights_fit_by_name_and_shape() -> None:
    import timm

    with torch.device("meta"):
        theirs = timm.create_model("resnet50d", num_classes=0).state_dict()
        ours = STIL().state_dict()
    renamed = {
        resnet50d_name(name): value.shape for name, value in theirs.items() if resnet50d_name(name)
    }
    assert all(ours[name].shape == shape for name, shape in renamed.items())
    left = [name for name in theirs if resnet50d_name(name) is None]
    assert len(renamed) + len(left) == len(theirs) and all(
        ".conv2." in name or ".bn2." in name for name in left
    )


@pytest.mark.slow  # every model is compiled in test_models
def test_forward_compiles_as_one_graph_and_runs_in_bfloat16(tiny: STIL) -> None:
    tiny.eval()
    clip = torch.randn(1, 2, 3, 112, 112)
    torch._dynamo.reset()
    whole = torch.compile(tiny, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(whole(clip), tiny(clip))
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(clip).float()
        torch.testing.assert_close(rough, tiny(clip), atol=0.05, rtol=0.05)


def test_every_convolution_begins_with_the_spread_of_the_released_network() -> None:
    """Upstream has two 1x1 projections of `width` outputs where a block here has one of twice so
    many: fan-out is that of the halves.
    """
    torch.manual_seed(0)
    model = STIL()
    blocks = [block for number in (1, 2, 3, 4) for block in getattr(model, f"layer{number}")]
    assert len(blocks) == 16
    for block in blocks:
        width = block.conv[0].out_channels
        for half in block.enter[0].weight.chunk(2):
            assert half.std().item() == pytest.approx((2 / width) ** 0.5, rel=0.08)
        for conv in (block.sim.conv[0], block.sim.last[0], block.conv[0]):
            assert conv.weight.std().item() == pytest.approx((2 / (9 * width)) ** 0.5, rel=0.08)
        leave = block.leave[0]
        expected = (2 / leave.out_channels) ** 0.5
        assert leave.weight.std().item() == pytest.approx(expected, rel=0.08)
