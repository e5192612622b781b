"""A verdict needs a model that may be believed: the drawn run of the tests never accuses or clears
anybody, and each doubt by itself is enough.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.evaluations import write_evaluation
from tests.support.predicting import track_of, trust
from tests.support.tiny_cache import make_cache
from tests.support.trained import CLRNET, extract_drawn, make_run
from unmask.commands import main as cli
from unmask.pipeline.clips.looks import NOTICED
from unmask.pipeline.config import CropConfig, PredictConfig, TrainConfig
from unmask.pipeline.demo.dataset import DemoConfig, draw_dataset
from unmask.pipeline.prediction.predict import judge, open_scorers
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.prediction.trust import (
    Standing,
    doubts_about_looks,
    doubts_about_model,
    standing_from,
    standings_of,
)
from unmask.pipeline.runs.knowledge import Knowledge, Spread
from unmask.pipeline.runs.run_folder import open_run
from unmask.pipeline.scores.calibration import Calibration
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.training.train import train

BOX = (80.0, 60.0, 160.0, 180.0)
INSIDE, OUTSIDE = (10.0,) * len(NOTICED), (10.0, 10.0, 10.0, 10.0, 90.0)


@pytest.fixture(scope="module")
def drawn_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's road in small: drawn, extracted and trained by the real functions."""
    root = tmp_path_factory.mktemp("drawn-run")
    small = DemoConfig(train_pairs=1, val_pairs=1, test_pairs=1, frames=30, width=320, height=240)
    list(draw_dataset(root / "data", small))
    lists = extract_drawn(root / "data", root)
    assert lists == root / "manifests" / "drawn" / "c23"
    train(
        TrainConfig(
            manifest=str(lists / "train.txt"),
            val=str(lists / "val.txt"),
            cache=str(root / "cache"),
            options=CLRNET,
            steps=1,
            device="cpu",
        ),
        run=root / "run",
    )
    return root / "run"


def test_a_run_knows_whom_it_was_trained_on(drawn_run: Path) -> None:
    known = open_run(drawn_run).document["knowledge"]
    assert known["drawn"] is True and known["datasets"] == ["drawn"]
    assert (known["real"], known["fake"], known["people"]) == (2, 2, 2)
    assert (known["compressions"], known["methods"]) == (["c23"], ["Deepfakes", "real"])
    assert list(known["looks"]) == list(NOTICED)


def test_the_drawn_run_answers_unsure_on_every_real_clip(
    drawn_run: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    # at its worst: surely fake about everybody, calibrated and evaluated as if it were good
    shutil.copytree(drawn_run, run := tmp_path / "run")
    knowledge = json.loads((run / "run.json").read_text())["knowledge"]
    trust(run, 0.0, 0.0)
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {"knowledge": knowledge}))
    code = cli.main(["predict", str(media / "videos"), "--run", str(run), "--json"])
    out, err = capsys.readouterr()
    videos = json.loads(out)["videos"]
    assert code == 11 and len(videos) == len(list((media / "videos").iterdir()))
    for video in videos:
        faceless = "noface" in video["path"]
        assert video["verdict"] == ("no face" if faceless else "unsure"), video["path"]
        if not faceless:
            assert video["bare"] == "fake"
            assert "trained on drawn faces" in video["doubts"][0]
            assert "trained on drawn faces" in video["reason"]
    assert "doubt: run: trained on drawn faces" in err


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A scorer with the papers of a good run, whose training crops all looked about the same."""
    root = tmp_path_factory.mktemp("good")
    cache, manifests = make_cache(root, {"train": 1}, side=64)
    settings = CropConfig(clips=4, frames=3, size=64).settings()
    run = make_run(root / "run", manifests / "train.txt", cache, settings, "clrnet", CLRNET)
    trust(run)
    (scorer,) = open_scorers(PredictConfig(models=(str(run),), device="cpu"))
    looks = {name: Spread(8.0, 10.0, 12.0) for name in NOTICED}
    return replace(scorer, knowledge=replace(scorer.knowledge, looks=looks))


def verdict(scorer: Scorer, score: float, *looks: tuple[float, ...], anyway: bool = False):
    tracks = [
        replace(track_of([0.1, 0.5], [BOX] * 2, [score - 0.01 * n] * 2, n), looks=look)
        for n, look in enumerate(looks or (INSIDE,))
    ]
    return judge(Path("a.mp4"), tracks, [scorer], anyway=anyway)


@pytest.mark.parametrize(("score", "said"), [(0.9, "fake"), (0.1, "real"), (0.5, "unsure")])
def test_without_a_doubt_the_score_decides(good: Scorer, score: float, said: str) -> None:
    found = verdict(good, score)
    assert (found.verdict, found.bare, found.doubts) == (said, said, ())
    assert found.shown == found.score == pytest.approx(score)


def knowing(**change: object):
    return lambda scorer: replace(scorer, knowledge=replace(scorer.knowledge, **change))


def calibrated(**change: object):
    return lambda scorer: replace(scorer, calibration=replace(scorer.calibration, **change))


def standing(*found: Standing):
    return lambda scorer: replace(scorer, standings=found)


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        (lambda scorer: replace(scorer, knowledge=Knowledge()), "nobody knows what"),
        (knowing(drawn=True), "trained on drawn faces"),
        (knowing(real=49), "trained on 49 real and 500 fake videos"),
        (knowing(fake=0), "trained on 500 real and 0 fake videos"),
        (knowing(people=19), "trained on 19 people"),
        (knowing(looks={}), "nobody knows how the crops"),
        (calibrated(real=58), "rests on 58 real and 100 fake videos of v.csv; 59 of each"),
        (calibrated(videos=0, real=0, fake=0), "no calibration"),
        (calibrated(auc_low=0.5), "no better than chance on the videos of its calibration"),
        (calibrated(auc=None, auc_low=None), "nobody has measured"),
        (standing(Standing("x-test", 0.5, 0.42)), "no better than chance on x-test (AUC 0.500"),
        (standing(Standing("a", 0.9, 0.8), Standing("b", 0.6, 0.49)), "chance on b"),
    ],
)
def test_one_doubt_is_enough_for_both_verdicts_and_anyway_overrules_it(
    good: Scorer, worse, why: str
) -> None:
    doubted = worse(good)
    for score, bare in ((0.9, "fake"), (0.1, "real")):
        found = verdict(doubted, score)
        assert (found.verdict, found.bare, found.shown) == ("unsure", bare, None)
        assert len(found.doubts) == 1 and why in found.doubts[0] and why in found.reason
        said = verdict(doubted, score, anyway=True)
        assert (said.verdict, said.shown) == (bare, said.score)
        assert said.doubts == found.doubts and "in spite of a doubt" in said.reason


def test_people_and_evaluations_that_nobody_counted_are_no_doubt(good: Scorer) -> None:
    assert not knowing(people=None)(good).doubts
    assert not standing(Standing("x", 0.8, None))(good).doubts


def test_crops_unlike_those_of_training_are_said(good: Scorer) -> None:
    found = verdict(good, 0.9, OUTSIDE)
    assert found.verdict == "unsure"
    assert found.doubts == (
        "its crops are unlike those of training: noise 90, in training -4 to 24",
    )


def test_fake_rests_on_the_highest_person_and_real_on_everybody(good: Scorer) -> None:
    assert verdict(good, 0.9, INSIDE, OUTSIDE).verdict == "fake"
    assert verdict(good, 0.9, OUTSIDE, INSIDE).verdict == "unsure"
    found = verdict(good, 0.1, INSIDE, OUTSIDE)
    assert found.verdict == "unsure" and found.doubts[0].startswith("person 2: its crops")


def test_a_person_within_the_fences_of_every_statistic_is_like_training() -> None:
    known = Knowledge(True, looks={name: Spread(0.0, 1.0, 2.0) for name in NOTICED})
    for place in range(len(NOTICED)):
        least = list(NOTICED.values())[place]
        edge = 2.0 + 3 * max(2.0, least)
        looks = np.ones(len(NOTICED))
        looks[place] = edge
        assert doubts_about_looks(known, looks) == []
        looks[place] = edge + 0.01
        assert len(doubts_about_looks(known, looks)) == 1


def test_standings_are_read_from_the_runs_own_evaluations(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "b-test", Measure(0.75, 0.6, 0.9))
    write_evaluation(tmp_path / "a-test", Measure(0.5))
    write_evaluation(tmp_path / "one-class", Measure(None, note="one class"))
    for name, value in {"broken": '"high"', "nan": "NaN", "odd": "1.5"}.items():
        path = write_evaluation(tmp_path / name, Measure(0.96875))
        path.write_text(path.read_text().replace("0.96875", value))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "metrics.json").write_text("[" * 100_000)
    found = standings_of(tmp_path)
    assert [s for s in found if not s.damaged] == [
        Standing("a-test", 0.5, None),
        Standing("b-test", 0.75, 0.6),
    ]
    damaged = [s for s in found if s.damaged]
    assert [s.name for s in damaged] == ["broken", "deep", "nan", "odd"]
    assert [standing_from(asdict(s)) for s in found] == list(found), "also through a sidecar"
    sure = Calibration(1.0, 0.5, (0.4, 0.6), videos=200, real=100, fake=100, auc=0.9, auc_low=0.8)
    doubts = doubts_about_model(Knowledge(True, False, 500, 500, 100), damaged, sure)
    assert len(doubts) == 4
    assert doubts[0].startswith("nobody knows how well it did on broken: the evaluation cannot")
