"""Every model leaves as .pt2 and .onnx with the run's scores, and what comes back is checked
before it is used.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.evaluations import write_evaluation
from tests.support.predicting import trust
from tests.support.tiny_cache import make_cache
from tests.support.trained import make_run
from unmask.models import create_model, model_class
from unmask.pipeline.config import CropConfig, PredictConfig
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.prediction import export
from unmask.pipeline.prediction import exported as module
from unmask.pipeline.prediction.export import encode, examples, export_model
from unmask.pipeline.prediction.exported import open_exported, sidecar_of
from unmask.pipeline.prediction.scorer import from_run
from unmask.pipeline.prediction.trust import Standing
from unmask.pipeline.scores.metrics import Measure

CASES = {
    "clrnet": ("clrnet", {"size": 48}),
    "stil": ("stil", {}),
    "xception_lstm": ("xception_lstm", {}),
    "m2tr-dct": ("m2tr", {"variant": "dct"}),
    "m2tr-fft": ("m2tr", {"variant": "fft"}),
    "vit": ("vit", {}),
    "swin": ("swin", {}),
    "tall_swin": ("tall_swin", {"double_resize": True}),
    "vim": ("vim", {}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    cache, manifests = make_cache(root, {"train": 1}, side=64)
    settings = CropConfig(clips=4, frames=3, size=64).settings()
    options = {**model_class("m2tr").small, "variant": "dct"}
    made = make_run(root / "run", manifests / "train.txt", cache, settings, "m2tr", options)
    trust(made)
    write_evaluation(made / "evaluations" / "x-test", Measure(0.8, 0.7, 0.9))
    return made


def small(case: str) -> nn.Module:
    name, options = CASES[case]
    torch.manual_seed(0)
    return create_model(name, **{**model_class(name).small, **options}).eval()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", module.KINDS)
@pytest.mark.parametrize("case", CASES)
def test_every_model_exports_with_any_number_of_clips(
    case: str, suffix: str, tmp_path: Path
) -> None:
    network = small(case)
    data = encode(network, network.spec, suffix)
    logits = module.decoded_program(data, tmp_path / f"model{suffix}")
    for count in (1, 3):
        inputs = examples(network.spec, count, seed=5)
        with torch.inference_mode():
            truth = network(*inputs).softmax(1)
            found = logits(*export._pair(inputs)).softmax(1)
        assert (truth - found).abs().max() < 1e-4


def test_a_run_goes_out_as_onnx_and_comes_back(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = export_model(run, tmp_path / "model.onnx", PredictConfig(device="cpu"))
    assert done.difference <= 1e-4
    scorer = open_exported(done.path, PredictConfig(device="cpu"))
    assert (scorer.crop.clips, scorer.crop.size, scorer.spec.frames) == (4, 64, 1)
    assert scorer.network is None and scorer.facts["File"]["sha256"]
    whole = from_run(run, PredictConfig(device="cpu"))
    assert scorer.knowledge == whole.knowledge and scorer.knowledge.known
    assert scorer.standings == whole.standings == (Standing("x-test", 0.8, 0.7),)
    assert scorer.calibration == whole.calibration and scorer.doubts == whole.doubts == []
    inputs = examples(scorer.spec, 5, seed=3)
    truth = from_run(run, PredictConfig(device="cpu")).logits(*inputs)
    # logits, not scores: at 47 a float32 step is 4e-6, and its sums differ by some of them
    assert scorer.logits(*inputs) == pytest.approx(truth.detach(), abs=1e-4, rel=1e-5)
    _damages(done.path)


def _damages(path: Path) -> None:
    """Every wrong sidecar and every changed byte is refused with words."""
    config, sidecar = PredictConfig(device="cpu"), sidecar_of(path)
    good = sidecar.read_text()
    for change, words in (
        ({"sha256": "0" * 64}, "sha256 differs"),
        ({"format": 99}, "format 1"),
        ({"spec": {"mode": "consecutive", "frames": -1}}, "out of range"),
        ({"spec": {"surprise": 1}}, "spec"),
        ({"calibration": {"threshold": 3, "unsure": [0, 1]}}, "calibration"),
        ({"settings": {"size": "large"}}, "size"),
        ({"settings": {"colour": 1}}, "colour"),
        ({"cautions": "none"}, "sidecar"),
        ({"standings": [{"name": "x", "auc": 2, "low": None}]}, "standings"),
        ({"standings": "good"}, "standings"),
    ):
        sidecar.write_text(json.dumps({**json.loads(good), **change}))
        with pytest.raises(CheckpointError, match=words):
            open_exported(path, config)
    sidecar.write_text("{")
    with pytest.raises(CheckpointError, match="not readable"):
        open_exported(path, config)
    sidecar.write_text(good)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="sha256 differs"):
        open_exported(path, config)


def test_a_pt2_is_not_opened_without_trust(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="--trust-model"):
        open_exported(tmp_path / "model.pt2", PredictConfig(device="cpu"))


def test_another_suffix_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.pt2 or \.onnx"):
        export_model(run, tmp_path / "model.pth", PredictConfig(device="cpu"))


def test_scores_that_differ_write_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(clip, bands):
        return torch.tensor([[0.0, 9.0]]).expand(len(clip), 2)

    monkeypatch.setattr(export, "encode", lambda *a: b"data")
    monkeypatch.setattr(export, "decoded_program", lambda *a: wrong)
    with pytest.raises(CheckpointError, match="differ"):
        export_model(run, tmp_path / "model.onnx", PredictConfig(device="cpu"))
    assert list(tmp_path.iterdir()) == []


def test_the_operator_that_cannot_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(clip[:, 0, 0, :4, :4]).real[:, :2]

    spec = small("clrnet").spec
    with pytest.raises(UsageError, match=r"aten[.:]+(_?linalg_eig\w*)"):
        encode(Odd(), spec, ".onnx")
