"""ConvLSTM against a step-by-step loop in float64, its padding and its initial values against
their rules.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.plain_models import pad_same, plain_convlstm
from unmask.models.layers.convlstm import (
    ConvLSTM,
    hard02,
    orthogonal,
    same_padding,
    truncated_normal,
)


def folded(clip: torch.Tensor) -> torch.Tensor:
    """(B, T, ...) -> (T*B, ...)"""
    return clip.transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize("gate_act", ["hard02", "sigmoid"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "recurrent", "size"),
    [
        (7, 2, "same", None, 12),
        (3, 2, "same", None, 8),
        (3, 1, "valid", None, 7),
        (1, 2, "valid", None, 5),
        (7, 2, "same", 1, 9),
    ],
)
def test_equals_the_step_by_step_loop(gate_act, kernel, stride, padding, recurrent, size):
    torch.manual_seed(0)
    layer = ConvLSTM(3, 4, kernel, stride, padding, gate_act, recurrent).double()
    nn.init.normal_(layer.bias)
    clip = torch.randn(2, 4, 3, size, size + 1, dtype=torch.float64)
    expected = plain_convlstm(layer, clip)
    found = layer(folded(clip), 4)
    torch.testing.assert_close(found, folded(expected), rtol=1e-10, atol=1e-12)
    layer.last = True
    torch.testing.assert_close(layer(folded(clip), 4), expected[:, -1], rtol=1e-10, atol=1e-12)


def test_gradients_equal_the_step_by_step_loop():
    torch.manual_seed(0)
    layer = ConvLSTM(3, 4, 3).double()
    clip = torch.randn(2, 3, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]
    ours = torch.autograd.grad(layer(folded(clip), 3).square().sum(), [*layer.parameters(), clip])
    plain = torch.autograd.grad(
        plain_convlstm(layer, clip).square().sum(), [*layer.parameters(), clip]
    )
    for name, one, other in zip([*names, "clip"], ours, plain, strict=True):
        # torch's hardsigmoid keeps its slope of 1/6 in float32, also for float64
        torch.testing.assert_close(
            one, other, rtol=1e-6, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_one_step_by_hand():
    layer = ConvLSTM(1, 1, 1).double()
    with torch.no_grad():
        layer.input_kernel.copy_(torch.tensor([0.5, 0.0, 1.0, 2.0]).view(4, 1, 1, 1))
        layer.recurrent_kernel.copy_(torch.tensor([1.0, -1.0, 0.5, 3.0]).view(4, 1, 1, 1))
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    out = layer(x.view(2, 1, 1, 1), 2).flatten()

    def act(v):
        return torch.clamp(0.2 * torch.as_tensor(v, dtype=torch.float64) + 0.5, 0, 1)

    c1 = act(0.5) * torch.tanh(x[0])
    h1 = act(2.0) * torch.tanh(c1)
    c2 = (
        act(1.0 - h1 + 0.0) * 0
        + act(0.0 * 2 + 1.0 - h1) * c1
        + act(1.0 + h1) * torch.tanh(2.0 + 0.5 * h1)
    )
    h2 = act(4.0 + 3 * h1) * torch.tanh(c2)
    torch.testing.assert_close(out, torch.stack([h1, h2]), rtol=1e-12, atol=1e-14)


def test_hard02_is_not_torchs_hardsigmoid():
    x = torch.linspace(-4, 4, 401)
    torch.testing.assert_close(hard02(x), torch.clamp(0.2 * x + 0.5, 0, 1), rtol=0, atol=1e-6)
    assert (hard02(x) - nn.functional.hardsigmoid(x)).abs().max() > 0.05


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (240, 7, 2, (2, 3)),
        (40, 3, 2, (0, 1)),
        (40, 3, 1, (1, 1)),
        (5, 3, 2, (1, 1)),
        (120, 3, 3, (0, 0)),
        (40, 1, 2, (0, 0)),
    ],
)
def test_same_padding_puts_the_odd_pixel_last(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected
    padded = pad_same(torch.zeros(1, 1, size, size), kernel, stride)
    assert padded.shape[-1] == size + sum(expected)


def test_input_dropout_masks_each_gate_and_all_frames_alike():
    torch.manual_seed(0)
    layer = ConvLSTM(3, 4, 3, dropout=0.5).train()
    clip = torch.randn(2, 3, 3, 6, 6)
    torch.manual_seed(1)
    ours = layer(folded(clip), 3)
    torch.manual_seed(1)
    plain = plain_convlstm(layer, clip)
    torch.testing.assert_close(ours, folded(plain), rtol=1e-5, atol=1e-6)
    layer.eval()
    torch.testing.assert_close(
        layer(folded(clip), 3), folded(plain_convlstm(layer, clip)), rtol=1e-5, atol=1e-6
    )


def test_initial_values_follow_keras():
    torch.manual_seed(0)
    layer = ConvLSTM(16, 32, 3)
    assert layer.bias.chunk(4)[1].eq(1).all() and layer.bias.sum() == 32
    std = (2 / (9 * 16)) ** 0.5
    assert layer.input_kernel.std().item() == pytest.approx(std, rel=0.02)
    assert layer.input_kernel.abs().max() <= 2 * std / 0.8796 * 1.001
    limit = (6 / (9 * (16 + 4 * 32))) ** 0.5
    glorot = ConvLSTM(16, 32, 3, init="glorot_uniform").input_kernel
    assert 0.99 * limit < glorot.abs().max() <= limit
    recurrent = layer.recurrent_kernel.detach().flatten(1)  # (4F, F*k*k)
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(128), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(256, 64, 1, 1), (64, 300, 1, 1), (8, 8, 3, 3), (96, 80, 1, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    weight = torch.empty(shape)
    orthogonal(weight)
    matrix = weight.flatten(1)
    gram = matrix @ matrix.T if shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=5e-6)


def test_orthogonal_is_the_sign_fixed_qr_of_its_normal_matrix():
    torch.manual_seed(3)
    tall = torch.randn(40, 10)
    q, r = torch.linalg.qr(tall.double())
    torch.manual_seed(3)
    weight = torch.empty(40, 10)
    orthogonal(weight)
    torch.testing.assert_close(weight.double(), q * r.diagonal().sign(), rtol=0, atol=1e-5)


def test_truncated_normal_has_the_wanted_deviation_and_no_tail():
    torch.manual_seed(0)
    weight = torch.empty(200_000)
    truncated_normal(weight, 0.5)
    assert weight.std().item() == pytest.approx(0.5, rel=0.01)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.01)
    assert weight.abs().max() <= 1.0 / 0.8796 * 1.001
