"""The page of one prediction: everything in it, nothing asked of the network, hostile names
harmless.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.predicting import prediction_of, track_of
from tests.support.tiny_cache import make_cache
from tests.support.trained import CLRNET, make_run
from unmask.pipeline.config import CropConfig, EvaluateConfig, PredictConfig
from unmask.pipeline.evaluation.evaluate import evaluate
from unmask.pipeline.prediction.moments import Keeper, Moment
from unmask.pipeline.prediction.page import MOMENTS, _spread, write_prediction_page
from unmask.pipeline.prediction.predict import Looked, open_scorers
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.prediction.verdicts import NOT_A_PROOF, refused_prediction

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m.mp4"
BOX = (80.0, 60.0, 160.0, 180.0)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """An evaluated run."""
    root = tmp_path_factory.mktemp("page")
    cache, manifests = make_cache(root, {"train": 1, "test": 3}, side=64)
    settings = CropConfig(clips=4, frames=3, size=64).settings()
    run = make_run(root / "run", manifests / "train.txt", cache, settings, "clrnet", CLRNET)
    test = str(manifests / "test.txt")
    config = EvaluateConfig(
        manifests=(test,), run=str(run), cache=str(cache), resamples=50, device="cpu", explain=0
    )
    evaluate(replace(config, pictures=False))
    return open_scorers(PredictConfig(models=(str(run),), device="cpu"))[0]


def looked_of(path: Path, persons: int = 2) -> Looked:
    rng = np.random.default_rng(1)
    tracks = tuple(
        track_of([0.2, 0.9, 1.6], [BOX] * 3, [0.3, 0.55, 0.7 + 0.02 * number], number)
        for number in range(persons)
    )
    moments = tuple(
        tuple(
            Moment(
                t.number, p.start, p.end, p.score, rng.integers(0, 255, (3, 64, 64, 3), np.uint8)
            )
            for p in t.points[0]
        )
        for t in tracks
    )
    return Looked(prediction_of(path, tracks), moments)


@pytest.fixture(scope="module")
def page(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("out") / "page.html"
    write_prediction_page(target, looked_of(Path(HOSTILE)), [scorer], PredictConfig())
    return target.read_text()


def test_it_needs_nothing_else_and_runs_nothing(page: str) -> None:
    assert "default-src 'none'" in page and "<script" not in page and "url(" not in page
    assert not re.search(r"(?:src|href|srcset)=\"(?!data:|#)", page)
    assert "<img src=x" not in page and "\x1b" not in page and "&lt;img src=x" in page
    assert not re.search(r"\son\w+=\"", page)


def test_it_says_what_was_asked_for(page: str, scorer: Scorer) -> None:
    for words in (
        NOT_A_PROOF,
        "AUC",
        "Weak spots",
        "ROC",
        scorer.facts["Model"]["weights sha256"],
        "Grad-CAM",
    ):
        assert words in page, words
    assert "Looks like a fake" in page and "manifest sha256" in page


def test_every_moment_is_reached_by_key_click_and_has_its_panel(page: str) -> None:
    numbers = re.findall(
        r'<input type="radio" name="moment" id="m(\d+)" aria-label="([^"]+)"', page
    )
    assert len(numbers) == 6
    assert page.count(" checked>") == 1
    for number, label in numbers:
        assert len(re.findall(rf'<label for="m{number}"', page)) == 2, (
            "one on the chart, one under a face"
        )
        assert page.count(f'class="panel p{number}"') == 1
        assert f"#m{number}:checked ~ .lanes .p{number} " in page
        assert re.search(r"person \d, score 0\.\d{3}, (real|unsure|fake)", label)


def test_whoever_decides_has_a_lane_and_is_open_first(scorer: Scorer, tmp_path: Path) -> None:
    write_prediction_page(
        tmp_path / "p.html", looked_of(Path("a.mp4"), persons=9), [scorer], PredictConfig()
    )
    text = (tmp_path / "p.html").read_text()
    assert "Person 9: 0." in text and "Person 1 (main)" in text and "3 more in the table" in text
    chosen = re.search(r'aria-label="([^"]+)" checked', text)
    assert chosen is not None and "person 9" in chosen[1]


def test_a_video_without_a_verdict_has_a_page_too(scorer: Scorer, tmp_path: Path) -> None:
    write_prediction_page(
        tmp_path / "p.html",
        Looked(refused_prediction(Path("a.mp4"), "no_face", "none")),
        [scorer],
        PredictConfig(),
    )
    text = (tmp_path / "p.html").read_text()
    assert "No verdict: no face found" in text and NOT_A_PROOF in text and "<input" not in text


def test_an_unreadable_evaluation_is_said_not_hidden(scorer: Scorer, tmp_path: Path) -> None:
    (tmp_path / "evaluations" / "x-test").mkdir(parents=True)
    (tmp_path / "evaluations" / "x-test" / "metrics.json").write_text('{"levels": 3}')
    broken = replace(scorer, evaluations=tmp_path / "evaluations", network=None)
    write_prediction_page(tmp_path / "p.html", looked_of(Path("a.mp4")), [broken], PredictConfig())
    text = (tmp_path / "p.html").read_text()
    assert "cannot be read" in text and "an exported file shows no attention" in text


def test_the_keeper_holds_the_most_suspicious_of_each_slot() -> None:
    keeper, pixels = Keeper(0.0, 100.0), np.zeros((1, 8, 8, 3), np.uint8)
    rng = np.random.default_rng(0)
    scores = rng.random(1000)
    for number, score in enumerate(scores):
        keeper.offer(0, number / 10, number / 10, float(score), pixels)
    held = keeper.of(0)
    assert [m.score for m in held] == [pytest.approx(part.max()) for part in scores.reshape(40, 25)]
    chosen = _spread(held, MOMENTS)
    assert len(chosen) <= MOMENTS and max(m.score for m in chosen) == scores.max()
