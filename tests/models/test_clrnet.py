"""CLRNet against the released network's counts and its plain transcription."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_models import plain_clrnet
from unmask.models import create_model
from unmask.models.cost import measure_cost
from unmask.models.layers.convlstm import ConvLSTM
from unmask.models.options import ModelError

# Of the released Keras network: parameters with BatchNorm's running statistics, MACs.
RELEASED = {
    "stem": (840_960, 60_512_256_000),
    "stage0": (2_665_472, 5_308_416_000),
    "stage1": (12_742_656, 6_356_992_000),
    "stage2": (73_482_240, 9_175_040_000),
    "stage3": (158_416_896, 7_125_073_920),
    "head": (12_290, 4_096),
}


@pytest.fixture(scope="module")
def cost():
    """The published network, two levels deep."""
    return measure_cost("clrnet", depth=2)


def test_counts_equal_the_released_ones_stage_by_stage(cost):
    found = {stage.name: [stage.parameters + stage.statistics, stage.macs] for stage in cost.stages}
    # theirs are cut after a ReLU: the first BatchNorm of a stage is counted with the stage
    # before
    for stage, channels in ((1, 256), (2, 512), (3, 1024)):
        found[f"stage{stage - 1}"][0] += 4 * channels
        found[f"stage{stage}"][0] -= 4 * channels
    assert {name: tuple(found[name]) for name in RELEASED} == RELEASED
    assert cost.total.parameters == 248_107_394
    assert cost.total.parameters + cost.total.statistics == 248_160_514
    assert cost.total.macs == 88_477_782_016


def test_has_53_convlstms_and_53_norms_with_keras_settings():
    with torch.device("meta"):
        model = create_model("clrnet")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert sum(isinstance(module, ConvLSTM) for module in model.modules()) == 53
    assert len(norms) == 53
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_shapes_at_240_are_the_published_ones(cost):
    shapes = {stage.name: stage.output for stage in cost.stages}
    assert shapes["stem.conv"] == (5, 64, 120, 120)
    assert shapes["stem"] == (5, 64, 40, 40)
    last = {0: (5, 256, 20, 20), 1: (5, 512, 10, 10), 2: (5, 1024, 5, 5), 3: (5, 2048, 3, 3)}
    for stage, block in ((0, 2), (1, 3), (2, 5), (3, 2)):
        assert shapes[f"stage{stage}.{block}"] == last[stage]


@pytest.mark.parametrize(
    "options", [{}, {"gate_act": "sigmoid", "recurrent_kernel": "1", "stem_stride_pool": "resnet"}]
)
@pytest.mark.parametrize("training", [False, True])
def test_equals_its_plain_transcription(options, training, monkeypatch):
    torch.manual_seed(0)
    model = create_model("clrnet", width=8, size=96, **options).train(training)
    twin = create_model("clrnet", width=8, size=96, **options).train(training)
    twin.load_state_dict(model.state_dict())
    clip = torch.rand(2, 5, 3, 75, 96)
    if training:
        # a few pixels at the end of the network make BatchNorm's statistics steep: compare beyond
        # float32's noise
        model, twin, clip = model.double(), twin.double(), clip.double()
    # the two would draw their masks in another order of axes
    monkeypatch.setattr(nn.functional, "dropout", lambda x, *_: x)
    torch.testing.assert_close(model(clip), plain_clrnet(twin, clip), rtol=1e-5, atol=1e-5)


def test_the_head_does_not_clip_and_the_first_block_has_no_leading_norm():
    model = create_model("clrnet", width=8)
    assert model.stage0[0].norm1 is None and model.stage0[0].conv1.kernel == 3
    assert model.stage0[1].norm1 is not None and model.stage0[1].conv1.kernel == 1
    feature = model.eval().outputs(torch.rand(1, 2, 3, 48, 48))["feature"]
    assert (feature < 0).any()


def test_options_change_what_they_name():
    with torch.device("meta"):
        assert create_model("clrnet", norm="imagenet").spec.norm == "imagenet"
        assert create_model("clrnet", recurrent_kernel="1").stem.conv.recurrent_kernel.shape == (
            256,
            64,
            1,
            1,
        )
        assert create_model("clrnet", width=16, bn_momentum=0.1).head.norm.momentum == 0.1
    macs = []
    for options in ({}, {"recurrent_kernel": "1"}):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            create_model("clrnet", width=8, **options).stem(torch.empty(5, 3, 96, 96), 5)
        macs.append(counter.get_total_flops() // 2)
    # the first of five frames has no state to convolve
    assert macs[0] - macs[1] == 4 * 48 * 48 * 32 * 8 * (49 - 1)


def test_refuses_what_is_no_clip():
    model = create_model("clrnet", width=8)
    with pytest.raises(ValueError, match=r"expected a clip \(B, T, 3, H, W\), got \(3, 48, 48\)"):
        model(torch.rand(3, 48, 48))
    with pytest.raises(ModelError, match=r"width=12 is not 64\|32\|16\|8"):
        create_model("clrnet", width=12)
