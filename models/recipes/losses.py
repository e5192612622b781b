"""The papers' losses on a model's `outputs` dict: classification, segmentation, contrastive,
uniformity and alignment terms, weighted.

Logits are (B, 2), labels (B,) int64 with 1 fake, masks (B, T, 1, H, W) with 1 manipulated, features
(B, D).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models.options import ModelError

REAL, FAKE = 0, 1


def cross_entropy(
    logits: Tensor, label: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Mean softmax cross-entropy. Keras' binary cross-entropy on a 2-way softmax against one-hot is
    the same number:

    the two outputs sum to one, so both of its terms are -log p of the true class, and it averages
    them.
    class_weight: (2,), multiplies a sample's loss; divided by the batch size, as Keras does, not by
    the weights' sum.
    """
    loss = F.cross_entropy(logits.float(), label, reduction="none", label_smoothing=smoothing)
    return (loss if class_weight is None else loss * class_weight[label]).mean()


def focal(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None = None,
    alpha: float = 1.0,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss on the two logits as independent sigmoids against one-hot (Lin et al. 2017; M2TR's
    released PyDeepFakeDet/utils/loss.py):

    mean over samples and logits of alpha * (1 - p_t)^gamma * BCE.
    """
    target = F.one_hot(label, 2).to(torch.float32)
    logits = logits.float()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # p_t = exp(-BCE), the probability given to the right answer
    loss = (alpha * (1 - torch.exp(-bce)) ** gamma * bce).mean(1)
    return (loss if class_weight is None else loss * class_weight[label]).mean()


def segmentation(mask_logits: Tensor, mask: Tensor) -> Tensor:
    """Pixel-wise binary cross-entropy of the manipulation mask; a real face's mask is all zero
    (M2TR, L_seg).
    """
    if mask_logits.shape != mask.shape:
        raise ModelError(
            f"loss seg: the model's mask is {tuple(mask_logits.shape)}, the given one "
            f"{tuple(mask.shape)}"
        )
    return F.binary_cross_entropy_with_logits(mask_logits.float(), mask.float())


def contrastive(feature: Tensor, label: Tensor) -> Tensor:
    """Mean distance of real features to their centre minus that of fake ones (M2TR, L_con with the
    paper's sign).

    distance = 1 - cosine similarity; the centre is the mean of the REAL features of the batch. A
    batch without real samples has no centre and costs 0; one without fake samples has the first
    term only.
    """
    feature = feature.float()
    real, fake = (label == REAL).float(), (label == FAKE).float()
    # sums and counts instead of selections: no wait for the device to say how many there are
    centre = (real @ feature) / real.sum().clamp_min(1)  # (D,)
    distance = 1 - F.cosine_similarity(feature, centre[None])
    near = (real * distance).sum() / real.sum().clamp_min(1)
    far = (fake * distance).sum() / fake.sum().clamp_min(1)
    return (near - far) * (real.sum() > 0)


def _squared_distances(feature: Tensor) -> Tensor:
    """(n, D) -> (n, n) squared distances between the features at unit length, 2 - 2 z_i.z_j: no
    square root, so that equal features have a finite gradient.
    """
    unit = F.normalize(feature.to(torch.promote_types(feature.dtype, torch.float32)), dim=1)
    return 2 - 2 * unit @ unit.T


def uniformity(feature: Tensor) -> Tensor:
    """How evenly unit features fill the sphere: the log of the mean over all pairs i < j of
    exp(-2 |z_i - z_j|^2), not below log 1e-6; 0 for fewer than two.

    Wang and Isola, ICML 2020, arXiv 2005.10242, with t = 2, as GenD has it (arXiv 2508.06248).
    """
    n = len(feature)
    if n < 2:
        return feature.sum() * 0
    above = torch.ones(n, n, dtype=torch.bool, device=feature.device).triu(1)
    near = torch.exp(-2 * _squared_distances(feature)) * above
    return torch.log((near.sum() / (n * (n - 1) / 2)).clamp_min(1e-6))


def alignment(feature: Tensor, label: Tensor) -> Tensor:
    """How far unit features of one label lie apart: the mean over pairs i < j of the same label of
    |z_i - z_j|^2; 0 where there is no such pair.

    Wang and Isola, ICML 2020, arXiv 2005.10242, with alpha = 2, as GenD has it (arXiv 2508.06248).
    """
    distance = _squared_distances(feature)
    same = (label[:, None] == label[None, :]).triu(1)
    return (distance * same).sum() / same.sum().clamp_min(1)


@dataclass(frozen=True)
class LossSpec:
    """A recipe's loss: weights of its terms and the numbers of the classification term.

    cls: cross_entropy or focal.
    seg, con: weights of segmentation and contrastive term, 0 for without.
    uni, ali: weights of uniformity and alignment of the feature, over each part that a batch is
        computed in, 0 for without.
    """

    cls: Literal["cross_entropy", "focal"] = "cross_entropy"
    seg: float = 0.0
    con: float = 0.0
    uni: float = 0.0
    ali: float = 0.0
    alpha: float = 1.0
    gamma: float = 2.0
    smoothing: float = 0.0


# Terms of feature and label.
OF_LABELS = {"con": contrastive, "ali": alignment}


def total_loss(
    spec: LossSpec,
    outputs: Mapping[str, Tensor],
    label: Tensor,
    masks: Tensor | None = None,
    class_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """{"loss": the sum to minimise, "cls", and where weighted "seg", "con", "uni", "ali": the
    terms before weighting}.

    Raises ModelError when a term needs a mask or a feature that the model or the batch does not
    have.
    """
    if spec.cls == "focal":
        terms = {"cls": focal(outputs["logits"], label, class_weight, spec.alpha, spec.gamma)}
    else:
        terms = {"cls": cross_entropy(outputs["logits"], label, class_weight, spec.smoothing)}
    total = terms["cls"]
    if spec.seg:
        if masks is None or "mask" not in outputs:
            missing = (
                "the batch has no masks (extract with --masks)"
                if masks is None
                else "the model makes no mask"
            )
            raise ModelError(
                f"loss seg={spec.seg}: {missing}; set seg=0 to train without segmentation"
            )
        terms["seg"] = segmentation(outputs["mask"], masks)
        total = total + spec.seg * terms["seg"]
    for name in ("con", "uni", "ali"):
        weight = getattr(spec, name)
        if not weight:
            continue
        if "feature" not in outputs:
            raise ModelError(f"loss {name}={weight}: the model gives no feature; set {name}=0")
        feature = outputs["feature"]
        terms[name] = uniformity(feature) if name == "uni" else OF_LABELS[name](feature, label)
        total = total + weight * terms[name]
    return {"loss": total, **terms}


def balanced_weights(labels: Tensor) -> Tensor:
    """(2,) weights n / (classes * n_class), scikit-learn's "balanced", of all labels; an absent
    class has 0.
    """
    counts = torch.bincount(labels, minlength=2).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(labels) / (present * counts.clamp_min(1)), torch.zeros(2))
