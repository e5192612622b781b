"""Losses against their formulas written out, sample by sample, and against Keras' way of writing
them.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unmask.models.options import ModelError
from unmask.models.recipes.losses import (
    LossSpec,
    alignment,
    balanced_weights,
    contrastive,
    cross_entropy,
    focal,
    segmentation,
    total_loss,
    uniformity,
)

LOGITS = torch.tensor([[1.0, -0.5], [0.2, 0.3], [-2.0, 1.5]], dtype=torch.float64)
LABEL = torch.tensor([0, 1, 0])


def test_cross_entropy_is_keras_binary_cross_entropy_on_a_softmax():
    losses = []
    for (a, b), label in zip(LOGITS.tolist(), LABEL.tolist(), strict=True):
        p = [math.exp(a) / (math.exp(a) + math.exp(b)), math.exp(b) / (math.exp(a) + math.exp(b))]
        hot = [1 - label, label]
        losses.append(
            sum(-y * math.log(q) - (1 - y) * math.log(1 - q) for y, q in zip(hot, p, strict=True))
            / 2
        )
    assert cross_entropy(LOGITS, LABEL).item() == pytest.approx(sum(losses) / 3, rel=1e-6)


def test_focal_is_the_formula_on_two_independent_sigmoids():
    terms = []
    for row, label in zip(LOGITS.tolist(), LABEL.tolist(), strict=True):
        for index, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            p_t = p if index == label else 1 - p
            terms.append(-0.5 * (1 - p_t) ** 3 * math.log(p_t))
    assert focal(LOGITS, LABEL, alpha=0.5, gamma=3.0).item() == pytest.approx(
        sum(terms) / 6, rel=1e-6
    )


def test_focal_without_focus_is_plain_binary_cross_entropy():
    hot = torch.nn.functional.one_hot(LABEL, 2).double()
    plain = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, hot)
    assert focal(LOGITS, LABEL, gamma=0.0).item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_class_weights_multiply_their_class(loss):
    each = torch.stack([loss(LOGITS[i : i + 1], LABEL[i : i + 1]) for i in range(3)])
    weighted = loss(LOGITS, LABEL, torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(weighted, (each * torch.tensor([2.0, 0.5, 2.0])).mean())


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_losses_stay_finite_at_extreme_half_precision_logits(loss):
    logits = torch.tensor(
        [[300.0, -300.0], [-300.0, 300.0]], dtype=torch.bfloat16, requires_grad=True
    )
    value = loss(logits, torch.tensor([1, 1]))
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and logits.grad.isfinite().all()


def test_segmentation_is_pixelwise_binary_cross_entropy():
    logits = torch.tensor([0.0, 2.0, -1.0, 3.0]).view(1, 1, 1, 2, 2)
    mask = torch.tensor([0.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 2, 2)
    p = torch.sigmoid(logits)
    expected = -(mask * p.log() + (1 - mask) * (1 - p).log()).mean()
    torch.testing.assert_close(segmentation(logits, mask), expected)
    with pytest.raises(ModelError, match=r"mask is \(1, 1, 1, 2, 2\)"):
        segmentation(logits, mask[..., :1])


def test_contrastive_draws_real_together_and_pushes_fake_away():
    feature = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    label = torch.tensor([0, 0, 1, 1])
    # centre (0.5, 0.5): reals at 45 degrees, one fake opposite, one fake at the centre
    near, far = 1 - math.cos(math.pi / 4), (2.0 + 0.0) / 2
    assert contrastive(feature, label).item() == pytest.approx(near - far, abs=1e-6)
    feature = feature.requires_grad_()
    contrastive(feature, label).backward()
    step = feature - 0.1 * feature.grad
    assert contrastive(step, label) < near - far


def test_contrastive_of_one_class_only():
    feature = torch.randn(3, 4, requires_grad=True)
    value = contrastive(feature, torch.tensor([1, 1, 1]))
    value.backward()
    assert value.item() == 0 and feature.grad.isfinite().all()
    assert contrastive(torch.ones(2, 4), torch.tensor([0, 0])).item() == pytest.approx(
        0.0, abs=1e-6
    )


def pairwise(feature, label):
    """Uniformity and alignment as the paper writes them, pair by pair."""
    unit = [row / math.sqrt(sum(x * x for x in row)) for row in np.asarray(feature)]
    distances = [
        (i, j, float(((unit[i] - unit[j]) ** 2).sum()))
        for i in range(len(unit))
        for j in range(i + 1, len(unit))
    ]
    near = [math.exp(-2 * d) for _, _, d in distances]
    alike = [d for i, j, d in distances if label[i] == label[j]]
    u = math.log(max(1e-6, sum(near) / len(near))) if near else 0.0
    return u, sum(alike) / len(alike) if alike else 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_uniformity_and_alignment_are_their_sums_over_pairs(n):
    rng = np.random.default_rng(n)
    feature, label = torch.tensor(rng.normal(size=(n, 5))), torch.tensor(rng.integers(2, size=n))
    u, a = pairwise(feature.numpy(), label.tolist())
    assert uniformity(feature).item() == pytest.approx(u, abs=1e-12)
    assert alignment(feature, label).item() == pytest.approx(a, abs=1e-12)
    order = torch.tensor(rng.permutation(n))
    assert uniformity(feature[order]).item() == pytest.approx(u, abs=1e-12)
    assert alignment(feature[order], label[order]).item() == pytest.approx(a, abs=1e-12)


def test_uniformity_and_alignment_have_the_values_that_one_can_work_out():
    same, across = torch.eye(4)[:1].repeat(3, 1), torch.eye(4)[:2]
    opposite = torch.stack([torch.eye(4)[0], -torch.eye(4)[0]])
    one = torch.zeros(2, dtype=torch.int64)
    assert uniformity(same).item() == pytest.approx(0, abs=1e-6)
    assert alignment(same, torch.tensor([0, 0, 1])).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(across).item() == pytest.approx(-4, abs=1e-5)
    assert uniformity(opposite).item() == pytest.approx(-8, abs=1e-5)
    assert alignment(opposite, one).item() == pytest.approx(4, abs=1e-5)
    assert alignment(opposite, torch.tensor([0, 1])).item() == 0


def test_gradients_of_uniformity_and_alignment_are_finite_differences():
    torch.manual_seed(3)
    feature = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 1, 1, 0, 0, 1])
    assert torch.autograd.gradcheck(uniformity, (feature,))
    assert torch.autograd.gradcheck(lambda f: alignment(f, label), (feature,))
    twins = torch.ones(3, 4, requires_grad=True)
    (uniformity(twins) + alignment(twins, label[:3])).backward()
    assert twins.grad.isfinite().all()


def test_total_is_the_weighted_sum_of_its_terms():
    outputs = {"logits": LOGITS, "feature": torch.randn(3, 4), "mask": torch.randn(3, 1, 1, 4, 4)}
    masks = torch.randint(0, 2, (3, 1, 1, 4, 4)).float()
    found = total_loss(LossSpec(cls="focal", seg=2.0, con=0.5), outputs, LABEL, masks)
    torch.testing.assert_close(found["loss"], found["cls"] + 2 * found["seg"] + 0.5 * found["con"])
    torch.testing.assert_close(found["cls"], focal(LOGITS, LABEL))
    assert set(total_loss(LossSpec(), {"logits": LOGITS}, LABEL)) == {"loss", "cls"}
    gend = total_loss(LossSpec(uni=0.5, ali=0.1), outputs, LABEL)
    torch.testing.assert_close(gend["loss"], gend["cls"] + 0.5 * gend["uni"] + 0.1 * gend["ali"])


def test_terms_without_their_input_are_refused_in_words():
    with pytest.raises(ModelError, match="extract with --masks"):
        total_loss(LossSpec(seg=1.0), {"logits": LOGITS, "mask": torch.zeros(3, 1, 1, 2, 2)}, LABEL)
    with pytest.raises(ModelError, match="the model makes no mask"):
        total_loss(LossSpec(seg=1.0), {"logits": LOGITS}, LABEL, torch.zeros(3, 1, 1, 2, 2))
    with pytest.raises(ModelError, match="gives no feature"):
        total_loss(LossSpec(con=1.0), {"logits": LOGITS}, LABEL)
    with pytest.raises(ModelError, match=r"loss uni=0\.5: the model gives no feature"):
        total_loss(LossSpec(uni=0.5), {"logits": LOGITS}, LABEL)


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = torch.tensor([0, 0, 0, 1])
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels.numpy())
    torch.testing.assert_close(
        balanced_weights(labels).double(), torch.tensor(expected), rtol=1e-6, atol=0
    )
    assert balanced_weights(torch.tensor([1, 1])).tolist() == [0.0, 1.0]
