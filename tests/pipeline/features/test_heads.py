"""Heads on stored features: trained in memory, then a run as any other; seeds; the linear probe."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.predicting import trust
from tests.support.tiny_cache import KEY, make_cache
from unmask.commands.main import main
from unmask.commands.train import seeds_of
from unmask.pipeline.cache.index import write_index
from unmask.pipeline.config import CropConfig, PredictConfig, TrainConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.errors import EXIT_OK, EXIT_REFUSED, UsageError
from unmask.pipeline.evaluation.probe import chosen_strength, fitted, unit
from unmask.pipeline.prediction.page import write_prediction_page
from unmask.pipeline.prediction.predict import open_scorers, predict
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.training.train import train

WORDS = ["--option", "backbone=test_vit.r160_in1k", "--option", "size=32", "--from-scratch"]
TRAIN = ["train", "--features", "--manifest", "manifests/tiny/train.txt", "--device", "cpu"]
TRAIN += ["--epochs", "6", "--set", "lr=0.03"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cache/, manifests/tiny/ and features/ of every split."""
    root = tmp_path_factory.mktemp("home")
    cache, _ = make_cache(root, {"train": 6, "val": 3, "test": 3})
    write_index(cache / "tiny" / KEY, [], CropConfig(clips=4, frames=3, size=64).settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        every = [f"--manifest=manifests/tiny/{name}.txt" for name in ("train", "val", "test")]
        assert main(["features", *every, *WORDS]) == EXIT_OK
    return root


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main([*TRAIN, "--run", "runs/linear"]) == EXIT_OK
    return home / "runs" / "linear"


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def test_such_a_run_is_a_run_as_any_other(
    at_home: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((run / "run.json").read_text())
    assert document["config"]["features"].startswith("test_vit-r160_in1k-32px-")
    assert document["config"]["options"]["tune"] == "none"
    steps = [line["loss"] for line in lines(run) if line["kind"] == "step"]
    assert statistics.fmean(steps[-3:]) < steps[0]
    assert main(["evaluate", "--run", str(run), "--probe", "--no-pictures", "--explain", "0"]) == 0
    out = capsys.readouterr().out
    assert "linear probe" in out
    folder = next((run / "evaluations").iterdir())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["probe"]["metrics"]["auc"]["value"] > 0.5 and metrics["probe"]["videos"] == 6
    assert "Linear probe" in (folder / "report.html").read_text()


def test_scores_from_pixels_are_those_from_features(at_home: Path, run: Path) -> None:
    """The encoder in the checkpoint is the one that made the features."""
    from unmask.pipeline.clips.source import ClipSource
    from unmask.pipeline.evaluation.inference import Scoring
    from unmask.pipeline.features.store import read_features

    model, _ = load_model(open_run(run))
    source = ClipSource(Path("manifests/tiny/val.txt"), Path("cache"), model.spec)
    scored = Scoring(model, "cpu").score(source).scores
    key = open_run(run).config.features
    stored = read_features(Path("features"), Path("cache"), source.entries, key)
    middle = np.concatenate([one[:, 1] for one in stored.features])  # of 3 frames, a row a clip
    with torch.no_grad():
        logits = model(torch.from_numpy(middle).float()[:, None])
    expected = (logits[:, 1] - logits[:, 0]).numpy()
    np.testing.assert_allclose(scored.logit, expected, rtol=0, atol=5e-3)


@pytest.fixture(scope="module")
def judge(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with the papers of a good one, and beside it a video, talk.mp4."""
    root = tmp_path_factory.mktemp("judge")
    shutil.copytree(run, root / "run")
    trust(root / "run", 0.5, 0.5)
    frames = draw_frames(draw_identity(1), 20, (320, 240), seed=1)
    encode_video(root / "talk.mp4", [picture for picture, _ in frames])
    return root / "run"


def test_a_head_judges_a_video_through_its_encoder_with_a_page(
    at_home: Path, judge: Path, tmp_path: Path
) -> None:
    config = PredictConfig(models=(str(judge),), device="cpu")
    scorers = open_scorers(config)
    looked = predict(judge.parent / "talk.mp4", scorers, config, moments=True)
    assert 0 < looked.prediction.score < 1
    write_prediction_page(tmp_path / "talk.html", looked, scorers, config)
    text = (tmp_path / "talk.html").read_text()
    assert "talk.mp4" in text and "encoder" in text and "Grad-CAM" in text


@pytest.mark.slow
def test_a_head_leaves_as_onnx_with_its_encoder(
    at_home: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    onnx, talk = tmp_path / "head.onnx", judge.parent / "talk.mp4"
    assert main(["export-model", "--run", str(judge), "--to", str(onnx)]) == EXIT_OK
    assert "scores agree" in capsys.readouterr().out
    scores = []
    for model in (onnx, judge):
        config = PredictConfig(models=(str(model),), device="cpu")
        scores.append(predict(talk, open_scorers(config), config).prediction.score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_a_stopped_run_ends_equal(
    at_home: Path, run: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"

    def stop(live: object) -> None:
        if live.step == 3:
            raise KeyboardInterrupt

    config = open_run(run).config
    with pytest.raises(KeyboardInterrupt):
        train(config, run=stopped, report=stop)
    assert len(lines(stopped)) >= 3 and not (stopped / "checkpoints").exists()
    assert main(["train", "--resume", "--run", str(stopped)]) == EXIT_OK
    assert (stopped / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    (one,), (other,) = (list(r.glob("checkpoints/best-*")) for r in (stopped, run))
    weights = "model.safetensors"
    assert one.name == other.name
    assert (one / weights).read_bytes() == (other / weights).read_bytes()
    before = sorted(p.name for p in (stopped / "checkpoints").iterdir())
    assert main(["train", "--resume", "--run", str(stopped)]) == EXIT_OK  # nothing left to do
    assert sorted(p.name for p in (stopped / "checkpoints").iterdir()) == before


@pytest.mark.parametrize("more", [("pool=attention", "frames=3"), ("head=mlp",)])
def test_other_heads_train_on_the_same_features(at_home: Path, tmp_path: Path, more) -> None:
    words = [word for one in more for word in ("--option", one)]
    assert main([*TRAIN, *words, "--run", str(tmp_path / "run")]) == EXIT_OK
    losses = [line["loss"] for line in lines(tmp_path / "run") if line["kind"] == "step"]
    assert losses[-1] < losses[0]


def test_seeds_are_runs_of_their_own_with_a_mean_and_a_deviation(
    at_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert main([*TRAIN, "--runs", str(runs), "--seeds", "0-2"]) == EXIT_OK
    capsys.readouterr()
    assert main(["runs", "--runs", str(runs), "--json"]) == EXIT_OK
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["seed"] for row in rows) == [0, 1, 2]
    values = [row["auc"] for row in rows]
    found = rows[0]["over_seeds"]
    assert found["runs"] == 3 and found["auc"] == pytest.approx(sum(values) / 3)
    mean = sum(values) / 3
    assert found["sd"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 2))
    assert main(["runs", "--runs", str(runs)]) == EXIT_OK
    assert f"encoder probe, seeds 0, 1, 2: best val AUC {mean:.3f} ± " in capsys.readouterr().out
    plain = ["--no-pictures", "--explain", "0", "--resamples", "0"]
    assert main(["evaluate", "--runs", str(runs), "--seeds", *plain]) == EXIT_OK
    out = capsys.readouterr().out
    assert out.count("report.html") == 3 and "over 3 seeds" in out and "±" in out
    # what each of them warns of stands above the numbers of all
    leaky = ["--manifest", "manifests/tiny/train.txt", "--allow-leakage"]
    assert main(["evaluate", "--runs", str(runs), "--seeds", *plain, *leaky]) == EXIT_OK
    out = capsys.readouterr().out
    (said,) = {line for line in out.splitlines() if line.startswith("caution: ")}
    assert "12 of these videos were trained on" in said and out.count(said) == 1


def test_seeds_as_words() -> None:
    assert seeds_of("0-4") == [0, 1, 2, 3, 4] and seeds_of("7") == [7]
    assert seeds_of("0,2,5-6,2") == [0, 2, 5, 6]
    for wrong in ("", "a", "3-1", "0-1000", "-1", "1,,2"):
        with pytest.raises(UsageError, match="--seeds"):
            seeds_of(wrong)


def test_what_a_head_on_features_cannot_do_is_one_line(
    at_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, code, message in (
        (["--model", "stil"], 2, "are of the model encoder, not of stil"),
        (["--recipe", "gend"], 2, "no pixels to change"),
        (["--option", "tune=norm"], 2, "the features have tune=none"),
        (["--option", "size=64"], 2, "the features have size=32"),
        (["--option", "backbone=vit-b"], 2, "the features have backbone=test_vit.r160_in1k"),
        (["--ema", "0.9"], 2, "leave out"),
        (["--store", "nowhere"], 2, "expected exactly one among the features"),
        (["--features", "other"], 2, "expected 'other' among the features"),
        (["--seeds", "0-1", "--resume"], 2, "leave out --resume"),
    ):
        assert main([*TRAIN, *more, "--run", str(tmp_path / "none")]) == code, more
        err = capsys.readouterr().err
        assert message in err and err.count("unmask:") == 1, err
    shutil.copytree("features", tmp_path / "features")
    shard = next((tmp_path / "features").rglob("r000/features/c.0.0.0"))
    data = bytearray(shard.read_bytes())
    data[9] ^= 1
    shard.write_bytes(data)
    assert main([*TRAIN, "--store", str(tmp_path / "features")]) == EXIT_REFUSED
    assert "checksum of clip 0" in capsys.readouterr().err
    config = TrainConfig("manifests/tiny/train.txt", model="encoder", features="auto", init="x")
    with pytest.raises(UsageError, match="name their encoder's weights"):
        train(config, tmp_path / "runs")


def test_the_probe_is_scikit_learns_and_groups_never_part() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 60)
    features = unit(rng.normal(size=(120, 6)) + 0.6 * label[:, None])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1)
    model = fitted(features, label, 0.1)
    # the gradient of scikit-learn's objective is zero at its answer: 1/2 |w|^2 + C sum of log-loss
    p = 1 / (1 + np.exp(-(features @ model.coef_[0] + model.intercept_[0])))
    gradient = model.coef_[0] + 10 * ((p - label) @ features)
    assert np.abs(gradient).max() < 0.05
    # Of rows that repeat within a group, only grouped folds see that nothing is learnt.
    group = np.repeat(np.arange(30), 4)
    noise = unit(np.repeat(rng.normal(size=(30, 40)), 4, 0) + 1e-3 * rng.normal(size=(120, 40)))
    shuffled = np.repeat(rng.permutation(np.arange(30) % 2), 4)
    assert chosen_strength(noise, shuffled, group) >= 10
    assert chosen_strength(noise, shuffled, np.arange(120)) < 1e-1
    assert chosen_strength(features, label, np.zeros(120, int)) == 1.0
