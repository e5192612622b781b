"""Xception-LSTM: attention against the formulas, the recurrence against torch's LSTM, counts
against the released network's.
"""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

from benchmarks.plain_models import plain_attention, plain_xception_lstm
from unmask.models import create_model, resolve_options
from unmask.models.cost import measure_cost
from unmask.models.layers.convlstm import ConvLSTM
from unmask.models.xception_lstm import (
    FrameAttention,
    SamePool,
    SpatialAttention,
    TemporalAttention,
)

SMALL = {"backbone": "efficientnet_b0", "filters": 32, "size": 96}


def test_counts_equal_the_released_ones():
    cost = measure_cost("xception_lstm")
    stages = {stage.name: stage for stage in cost.stages}
    assert cost.total.parameters == 135_632_756
    assert cost.total.parameters + cost.total.statistics == 135_687_284
    assert cost.total.macs == pytest.approx(221.46e9, rel=1e-4)
    assert stages["attention"].parameters == 74
    assert stages["backbone"].parameters == 20_806_952
    assert stages["backbone"].parameters + stages["backbone"].statistics == 20_861_480
    assert stages["backbone"].macs == 136_524_932_160 == 30 * 4_550_831_072
    assert (stages["rnn"].parameters, stages["rnn"].macs) == (113_250_304, 84_934_656_000)
    assert stages["rnn"].output == (1, 1024, 5, 5)
    assert (stages["head"].parameters, stages["head"].macs) == (
        1_049_600 + 524_800 + 1_026,
        1_573_888,
    )


def test_alternatives_have_the_released_counts():
    lstm = {
        stage.name: stage.parameters
        for stage in measure_cost("xception_lstm", rnn="lstm", frames=5).stages
    }
    assert lstm["rnn"] == 12_587_008
    assert measure_cost("xception_lstm", frames=5).total.macs == pytest.approx(36.9e9, rel=1e-3)
    with torch.device("meta"):
        net = create_model("xception_lstm", backbone="efficientnet_b0").backbone
    values = sum(p.numel() for p in net.parameters()) + sum(
        b.numel() for name, b in net.named_buffers() if "running" in name
    )
    # Keras counts 7 numbers of its input scaling layer, which is our `norm`
    assert values == 4_049_571 - 7


@pytest.mark.parametrize("key_reshape", [False, True])
@pytest.mark.parametrize("full", [True, False])
def test_attention_equals_the_formulas(full, key_reshape):
    torch.manual_seed(0)
    layer = FrameAttention(full, key_reshape).double()
    clip = torch.rand(2, 5, 3, 6, 7, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(layer(clip), plain_attention(layer, clip), rtol=1e-9, atol=1e-11)
    assert sum(p.numel() for p in layer.spatial.parameters()) == 34
    if full:
        assert sum(p.numel() for p in layer.temporal.parameters()) == 40


def test_key_reshape_mixes_frames_and_channels_and_the_transpose_does_not():
    torch.manual_seed(0)
    transpose, reshape = TemporalAttention(False), TemporalAttention(True)
    reshape.load_state_dict(transpose.state_dict())
    w = torch.randn(1, 6, 3)
    assert (transpose(w) - reshape(w)).abs().max() > 1e-4
    order = torch.randperm(6)
    torch.testing.assert_close(transpose(w[:, order]), transpose(w)[:, order])
    assert (reshape(w[:, order]) - reshape(w)[:, order]).abs().max() > 1e-4


def test_spatial_attention_is_a_sum_and_not_a_mean():
    torch.manual_seed(0)
    layer = SpatialAttention()
    nn.init.zeros_(layer.mask.weight), nn.init.zeros_(layer.mask.bias)  # m = 1/2 everywhere
    sums = []
    layer.enter.register_forward_hook(lambda module, inputs, output: sums.append(inputs[0]))
    x = torch.rand(2, 3, 5, 4)
    layer(x)
    torch.testing.assert_close(sums[0], 0.5 * x.sum((2, 3)))


def test_temporal_attention_of_equal_frames_adds_the_same_number():
    layer = TemporalAttention(False)
    w = torch.randn(1, 1, 3).expand(1, 4, 3)
    added = layer(w) - w
    torch.testing.assert_close(added, added[:, :1, :1].expand_as(added))


@pytest.mark.parametrize(
    "options",
    [{}, {"rnn": "lstm"}, {"attention": "spatial"}, {"attention": "none", "pad": "torch"}],
)
def test_equals_its_plain_transcription(options):
    torch.manual_seed(0)
    model = create_model("xception_lstm", **SMALL, **options).eval()
    twin = (
        create_model("xception_lstm", **SMALL, **options)
        .eval()
        .to(memory_format=torch.contiguous_format)
    )
    twin.load_state_dict(model.state_dict())
    clip = torch.rand(2, 3, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(
            model(clip), plain_xception_lstm(twin, clip), rtol=1e-5, atol=1e-5
        )


def test_lstm_equals_torchs_lstm():
    torch.manual_seed(0)
    layer = ConvLSTM(5, 4, 1, gate_act="sigmoid", last=True).double()
    lstm = nn.LSTM(5, 4).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(layer.input_kernel.flatten(1))
        lstm.weight_hh_l0.copy_(layer.recurrent_kernel.flatten(1))
        lstm.bias_ih_l0.copy_(layer.bias)
        lstm.bias_hh_l0.zero_()
    x = torch.randn(6, 2, 5, dtype=torch.float64)
    torch.testing.assert_close(
        layer(x.flatten(0, 1)[..., None, None], 6).flatten(1), lstm(x)[0][-1]
    )


@pytest.mark.parametrize("size", [7, 14, 27])
def test_same_pool_takes_the_windows_keras_takes(size):
    x = torch.randn(1, 1, size, size)
    out = SamePool()(x)
    total = max((math.ceil(size / 2) - 1) * 2 + 3 - size, 0)
    before = total // 2
    assert out.shape[-1] == math.ceil(size / 2)
    for i in range(out.shape[-1]):
        for j in range(out.shape[-1]):
            rows = slice(max(2 * i - before, 0), 2 * i - before + 3)
            columns = slice(max(2 * j - before, 0), 2 * j - before + 3)
            assert out[0, 0, i, j] == x[0, 0, rows, columns].max()


def test_pad_chooses_keras_or_timms_xception():
    with torch.device("meta"):
        keras = create_model("xception_lstm", filters=32).backbone
        torch_like = create_model("xception_lstm", filters=32, pad="torch").backbone
        plain = timm.create_model("legacy_xception", num_classes=0)

    def norms(net):
        return {(m.eps, m.momentum) for m in net.modules() if isinstance(m, nn.BatchNorm2d)}

    assert norms(keras) == {(1e-3, 0.01)}
    assert norms(torch_like) == norms(plain) == {(1e-5, 0.1)}
    assert sum(isinstance(m, SamePool) for m in keras.modules()) == 4
    assert not any(isinstance(m, SamePool) for m in torch_like.modules())
    assert keras.state_dict().keys() == plain.state_dict().keys()


def test_pretrained_weights_ask_for_timms_padding_unless_told_otherwise():
    assert resolve_options("xception_lstm", {})["pad"] == "tf"
    assert resolve_options("xception_lstm", {}, pretrained=True)["pad"] == "torch"
    assert resolve_options("xception_lstm", {"pad": "tf"}, pretrained=True)["pad"] == "tf"


def test_spec_takes_whole_clips_from_the_cache():
    with torch.device("meta"):
        assert create_model("xception_lstm", filters=32).spec.mode == "chained"
        assert create_model("xception_lstm", filters=32, frames=5).spec.mode == "consecutive"
        assert create_model("xception_lstm", filters=32, norm="raw255").spec.norm == "raw255"


def test_too_small_pictures_are_refused_in_words():
    model = create_model("xception_lstm", **SMALL).eval()
    with pytest.raises(ValueError, match="less than the 3 x 3 kernel of the ConvLSTM; use a side"):
        model(torch.rand(1, 2, 3, 64, 64))
    lstm = create_model("xception_lstm", **SMALL, rnn="lstm").eval()
    assert lstm(torch.rand(1, 2, 3, 64, 64)).shape == (1, 2)
