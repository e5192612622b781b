"""The zone of no verdict keeps the error it states, on videos that it has not seen."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.conformal import NEVER, conformal_zone, crossings, fewest, p_values

REALS = np.array([0.02, 0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30, 0.45, 0.60])
FAKES = np.array([0.40, 0.55, 0.70, 0.80, 0.85, 0.90, 0.93, 0.96, 0.98])
LABEL = np.repeat([0, 1], [10, 9])
SCORE = np.concatenate([REALS, FAKES])


def verdict(score: float, zone: tuple[float, float]) -> str:
    return "fake" if score >= zone[1] else "real" if score < zone[0] else "unsure"


def test_p_values_and_verdict_worked_by_hand() -> None:
    real, fake = p_values(REALS, FAKES, np.array([0.58]))
    assert real[0] == pytest.approx(2 / 11) and fake[0] == pytest.approx(3 / 10)
    assert verdict(0.58, conformal_zone(LABEL, SCORE, 0.1)) == "unsure"
    assert verdict(0.58, conformal_zone(LABEL, SCORE, 0.2)) == "fake"


@pytest.mark.parametrize("error", [0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_the_zone_is_the_set_of_classes_whose_p_value_exceeds_the_error(error: float) -> None:
    zone = conformal_zone(LABEL, SCORE, error)
    grid = np.unique(np.concatenate([SCORE, np.linspace(0, 1, 201)]))
    for score, real, fake in zip(grid, *p_values(REALS, FAKES, grid), strict=True):
        held = [name for name, p in (("real", real), ("fake", fake)) if p > error + 1e-12]
        assert verdict(score, zone) == (held[0] if len(held) == 1 else "unsure"), score


def test_how_many_may_cross_and_how_many_are_needed() -> None:
    assert [fewest(error) for error in (0.1, 0.05, 0.01, 0.0)] == [9, 19, 99, None]
    assert (crossings(100, 0.05), crossings(10, 0.05), crossings(19, 0.05)) == (5, 0, 1)
    assert conformal_zone(LABEL, SCORE, 0.05) == (0.0, NEVER), "no verdict at all"
    assert conformal_zone(LABEL, SCORE, 0.0) == (0.0, NEVER)


def test_a_hundred_reals_let_one_less_across_than_counting_did() -> None:
    label = np.repeat([0, 1], 100)
    score = np.concatenate([np.arange(100) / 200, 0.5 + np.arange(100) / 200])
    reals = score[label == 0]
    assert (reals >= conformal_zone(label, score, 0.05)[1]).sum() <= 4
    counted = np.nextafter(np.sort(reals)[::-1][5], 2)
    assert (reals >= counted).sum() == 5


def drawn(rng: np.random.Generator, each: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    label = np.repeat([0, 1], each)
    return label, cal.sigmoid(rng.normal(np.where(label == 1, apart / 2, -apart / 2), 1.0))


def errors_of(
    rng: np.random.Generator, splits: int, each: int, apart: float, error: float
) -> dict[str, float]:
    """Rates over drawn splits of calibration and test videos: of each class wrongly called, of
    verdicts, of wrong ones among them, and what was stated of these.
    """
    wrong, decided, stated, test = np.zeros(2), np.zeros(2), [], 200
    for _ in range(splits):
        fitted = cal.fit_calibration(*drawn(rng, each, apart), error=error)
        label, score = drawn(rng, test // 2, apart)
        warm = fitted.of(score)
        fake, real = warm >= fitted.unsure[1], warm < fitted.unsure[0]
        wrong += [(fake & (label == 0)).sum(), (real & (label == 1)).sum()]
        decided += [((fake | real) & (label == value)).sum() for value in (0, 1)]
        stated.append(fitted.among_verdicts)
    each_class = splits * test / 2
    return {
        "real": wrong[0] / each_class,
        "fake": wrong[1] / each_class,
        "coverage": decided.sum() / (2 * each_class),
        "among": wrong.sum() / max(decided.sum(), 1),
        "stated": float(np.mean(stated)),
    }


@pytest.mark.parametrize(
    "apart",
    [2.0, pytest.param(1.0, marks=pytest.mark.slow), pytest.param(3.0, marks=pytest.mark.slow)],
)
def test_over_500_drawn_splits_the_error_is_at_most_the_stated_one(apart: float) -> None:
    each, error, splits = 99, 0.05, 500
    found = errors_of(np.random.default_rng(int(apart)), splits, each, apart, error)
    print(f"apart {apart}: {found}")
    # The rate of one calibration is Beta(n + 1 - m, m): its spread and that of 100 test videos.
    m = crossings(each, error)
    of_calibration = m * (each + 1 - m) / ((each + 1) ** 2 * (each + 2))
    allowed = error + 3 * np.sqrt((of_calibration + error * (1 - error) / 100) / splits)
    assert found["real"] <= allowed and found["fake"] <= allowed
    assert found["among"] <= found["stated"], "of verdicts no more are wrong than stated"
    assert found["coverage"] > (0.1, 0.4, 0.7)[int(apart) - 1], "verdicts are given"


def test_with_the_fewest_videos_the_promise_holds_on_average() -> None:
    rng, error, rates = np.random.default_rng(7), 0.1, []
    for _ in range(2000):
        label, score = drawn(rng, 19, 1.5)
        low, high = conformal_zone(label, score, error)
        new_label, new = drawn(rng, 20, 1.5)
        rates.append([(new[new_label == 0] >= high).mean(), (new[new_label == 1] < low).mean()])
    mean, spread = np.mean(rates, axis=0), np.std(rates, axis=0) / np.sqrt(len(rates))
    assert (mean <= error + 3 * spread).all()


def test_new_calibrations_promise_and_old_files_promise_nothing(tmp_path: Path) -> None:
    fitted = cal.fit_calibration(*drawn(np.random.default_rng(3), 140, 2.0), source="val.csv")
    assert fitted.zone == "conformal" and 0 < min(fitted.decided) < 1
    assert "at most 5.0% are called fake" in fitted.promise and "140" in fitted.promise
    assert fitted.among_verdicts == pytest.approx(0.05 / min(fitted.decided))
    path = tmp_path / cal.FILE
    path.write_text(cal.as_json(fitted))
    assert cal.read_calibration(path) == fitted
    old = {k: v for k, v in asdict(fitted).items() if k not in ("zone", "decided")}
    path.write_text(json.dumps(old))
    read = cal.read_calibration(path)
    assert (read.zone, read.promise, read.among_verdicts) == ("counted", "", None)
    assert read.unsure == fitted.unsure


def test_too_few_or_no_error_at_all_give_no_verdict_and_say_so(tmp_path: Path) -> None:
    few = cal.fit_calibration(*drawn(np.random.default_rng(4), 18, 2.0))
    assert few.unsure == (0.0, NEVER) and 'no verdict "fake": 18 real videos, 19' in few.note
    assert few.among_verdicts == 1.0 and "0% of its reals" in few.promise
    (tmp_path / cal.FILE).write_text(cal.as_json(few))
    assert cal.read_calibration(tmp_path / cal.FILE) == few
    never = cal.fit_calibration(*drawn(np.random.default_rng(4), 100, 2.0), error=0.0)
    assert never.unsure == (0.0, NEVER) and "never a wrong verdict" in never.note
