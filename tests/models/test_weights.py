"""Weights from elsewhere: what is loaded, missing and unexpected, and what is said when there are
none.
"""

from __future__ import annotations

import pytest
import timm
import torch

from unmask.models import create_model, weights
from unmask.models.weights import Backbone, WeightsError, load_pretrained, load_tensors

SMALL = {"backbone": "efficientnet_b0", "filters": 32, "size": 96, "pad": "torch"}


def test_init_takes_all_that_fits():
    torch.manual_seed(0)
    source, target = create_model("clrnet", width=8), create_model("clrnet", width=8)
    report = load_tensors(target, source.state_dict(), "w.safetensors")
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    assert not report.missing and not report.unexpected and not report.reshaped
    assert "0 missing, 0 unexpected" in report.sentence()


def test_init_reports_what_does_not_fit_and_leaves_it_as_it_was():
    source, target = (
        create_model("clrnet", width=8),
        create_model("clrnet", width=8, recurrent_kernel="1"),
    )
    tensors = source.state_dict()
    del tensors["head.fc.weight"]
    tensors["extra"] = torch.zeros(1)
    kept = {
        key: target.state_dict()[key].clone()
        for key in ("head.fc.weight", "stem.conv.recurrent_kernel")
    }
    report = load_tensors(target, tensors, "w.safetensors")
    assert report.missing == ("head.fc.weight",) and report.unexpected == ("extra",)
    assert report.reshaped == (("stem.conv.recurrent_kernel", (32, 8, 7, 7), (32, 8, 1, 1)),)
    assert all(torch.equal(target.state_dict()[key], value) for key, value in kept.items())
    for word in ("1 missing (head.fc.weight)", "1 unexpected (extra)", "1 of another shape"):
        assert word in report.sentence()


def test_init_refuses_another_models_tensors():
    with pytest.raises(WeightsError, match="none of its 1 tensors fits this model"):
        load_tensors(create_model("clrnet", width=8), {"something": torch.zeros(3)}, "other")


def test_pretrained_puts_timms_weights_into_the_backbone(monkeypatch):
    torch.manual_seed(5)
    theirs = timm.create_model("efficientnet_b0", num_classes=0).state_dict()
    asked = []
    monkeypatch.setattr(weights, "fetch", lambda source: asked.append(source) or theirs)
    model = create_model("xception_lstm", **SMALL)
    (report,) = load_pretrained(model)
    assert asked == ["efficientnet_b0.ra_in1k"]
    assert not report.missing and not report.unexpected
    for key, value in theirs.items():
        if "num_batches" not in key:
            assert torch.equal(model.state_dict()[f"backbone.{key}"], value), key


def test_a_rename_may_leave_tensors_out(monkeypatch):
    monkeypatch.setattr(
        weights,
        "fetch",
        lambda source: {"old.weight": torch.ones(2, 3), "old.other": torch.ones(1)},
    )
    model = torch.nn.ModuleDict({"new": torch.nn.Linear(3, 2)})
    model.pretrained = (Backbone("any", "new", {"old.weight": "weight"}.get),)
    (report,) = load_pretrained(model)
    assert (
        report.loaded == ("new.weight",)
        and report.missing == ("new.bias",)
        and not report.unexpected
    )
    assert model["new"].weight.eq(1).all()


def test_offline_is_one_clear_sentence(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(WeightsError) as caught:
        weights.fetch("efficientnet_b0.ra_in1k")
    text = str(caught.value)
    assert "'efficientnet_b0.ra_in1k'" in text and "--from-scratch" in text and "\n" not in text


def test_a_model_without_imagenet_weights_says_so():
    with pytest.raises(WeightsError, match="CLRNet has no part that ImageNet weights exist for"):
        load_pretrained(create_model("clrnet", width=8))
