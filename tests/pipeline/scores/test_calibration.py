"""Temperature against scikit-learn's logistic regression, thresholds and zones against counting by
hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.formulas import calibration_error
from unmask.pipeline.scores.metrics import measure


def overconfident(
    seed: int = 0, videos: int = 4000, heat: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with the honest probability; the detector states its logit `heat` times too far
    out.
    """
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, videos)
    label = (rng.random(videos) < cal.sigmoid(z)).astype(np.int64)
    return label, cal.sigmoid(z * heat)


def test_the_temperature_is_found_and_repairs_the_calibration() -> None:
    label, score = overconfident()
    temperature, note = cal.fit_temperature(label, score)
    assert note == ""
    assert temperature == pytest.approx(3.0, rel=0.1)
    warm = cal.calibrate(score, temperature)
    assert calibration_error(label, warm) < 0.3 * calibration_error(label, score)
    assert measure(label, warm)["auc"].value == measure(label, score)["auc"].value


def test_the_temperature_is_the_slope_of_a_logistic_regression() -> None:
    label, score = overconfident(1, 500, 2.0)
    fitted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(
        cal.logit(score)[:, None], label
    )
    assert cal.fit_temperature(label, score)[0] == pytest.approx(1 / fitted.coef_[0, 0], rel=1e-4)


@pytest.mark.parametrize(
    ("label", "score", "why"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "separates perfectly"),
        ([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2], "tell nothing"),
        ([1, 1], [0.8, 0.9], "one class"),
    ],
)
def test_videos_that_decide_no_temperature_leave_the_scores_alone(label, score, why) -> None:
    temperature, note = cal.fit_temperature(np.array(label), np.array(score))
    assert temperature == 1.0
    assert why in note
    assert (cal.calibrate(np.array(score), temperature) == score).all()


def far_out(videos: int = 140, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits N(-10, 1) of reals and N(10, 1) of fakes: nothing lies between."""
    label = np.repeat([0, 1], videos // 2)
    z = np.random.default_rng(seed).normal(np.where(label == 1, 10.0, -10.0), 1.0)
    return label, cal.sigmoid(z)


@pytest.mark.parametrize(
    ("label", "score"),
    [
        (np.array([0, 0, 1, 1]), np.array([1e-4, 2e-4, 0.9, 0.99])),
        far_out(),
        # separated, though not at one half
        (np.array([0, 0, 1, 1]), np.array([0.6, 0.65, 0.7, 0.9])),
    ],
)
def test_separable_scores_never_collapse_the_temperature(label, score) -> None:
    temperature, note = cal.fit_temperature(label, score)
    assert (temperature, note) == (1.0, "validation separates perfectly: no temperature")
    fitted = cal.fit_calibration(label, score)
    assert (fitted.of(score) == score).all(), "no score becomes 0.000 or 1.000"
    low, high = fitted.unsure
    assert high - low >= 0.2 - 1e-12, "the zone is not gone"
    assert low <= fitted.threshold <= high


def test_one_wrong_video_among_many_draws_scores_out_at_most_four_times() -> None:
    label = np.repeat([0, 1], 500)
    score = np.where(label == 1, 0.51, 0.49)
    score[0] = 0.51
    temperature, note = cal.fit_temperature(label, score)
    assert temperature == cal.COLDEST == 0.25 and "below 0.25" in note


def test_how_many_videos_it_rests_on_is_stated_and_few_keep_the_default_zone() -> None:
    assert cal.videos_needed(0.05) == 59 and 0.95**59 < 0.05 < 0.95**58
    label, score = overconfident(4, 40)
    few = cal.fit_calibration(label, score, source="val.csv")
    assert (few.real, few.fake) == ((label == 0).sum(), (label == 1).sum())
    assert few.temperature == 1.0 and not few.rests_on_enough
    assert few.unsure[0] <= few.threshold - 0.1 and few.unsure[1] >= few.threshold + 0.1
    assert "59 of each are needed" in few.note
    assert few.basis == f"{few.real} real and {few.fake} fake videos of val.csv"
    many = cal.fit_calibration(*overconfident(4, 400), source="val.csv")
    assert many.rests_on_enough and many.temperature == pytest.approx(3.0, rel=0.3)
    assert cal.DEFAULT.basis == "nothing: defaults" and not cal.DEFAULT.rests_on_enough


def test_it_knows_how_well_its_own_videos_are_told_apart() -> None:
    label, score = overconfident(5, 400)
    fitted = cal.fit_calibration(label, score)
    truth = measure(label, score, resamples=2000)["auc"]
    assert fitted.auc == pytest.approx(truth.value, abs=1e-12)
    assert fitted.auc_low == pytest.approx(truth.low, abs=0.01)
    blind = np.random.default_rng(6).random(400)
    assert cal.fit_calibration(label, blind).auc_low < 0.5


def test_threshold_of_best_balanced_accuracy_lies_in_the_middle_of_the_widest_gap() -> None:
    label, score = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    assert cal.choose_threshold(label, score, "balanced") == pytest.approx(0.5)
    label, score = np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.35, 0.8, 0.9])
    chosen = cal.choose_threshold(label, score, "balanced")
    every = [
        measure(label, score, threshold=t)["balanced_acc"].value for t in np.linspace(0, 1, 41)
    ]
    assert measure(label, score, threshold=chosen)["balanced_acc"].value == max(every)
    assert cal.choose_threshold(label, score, "half") == 0.5


def test_threshold_of_equal_errors() -> None:
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    score = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9])
    chosen = cal.choose_threshold(label, score, "eer")
    assert np.mean(score[label == 0] >= chosen) == np.mean(score[label == 1] < chosen)


@pytest.mark.parametrize("error", [0.0, 0.05, 0.2])
def test_outside_the_unsure_zone_both_error_rates_are_kept(error: float) -> None:
    label, score = overconfident(2, 600, 1.0)
    low, high = cal.unsure_zone(label, score, 0.5, error)
    assert low <= 0.5 <= high
    assert np.mean(score[label == 0] >= high) <= error
    assert np.mean(score[label == 1] < low) <= error
    # and it is not wider than needed: one step inward on either side breaks a promise
    inner_high = score[label == 0][score[label == 0] < high].max()
    assert np.mean(score[label == 0] >= inner_high) > error


def test_a_perfect_detector_has_no_unsure_zone() -> None:
    label, score = np.repeat([0, 1], 50), np.repeat([0.1, 0.9], 50)
    assert cal.unsure_zone(label, score, 0.5) == (0.5, 0.5)


def test_one_class_cannot_choose_a_threshold() -> None:
    with pytest.raises(UsageError, match="real and fake"):
        cal.fit_calibration(np.array([1, 1]), np.array([0.2, 0.3]), source="val.csv")


def test_reliability_counts_by_hand() -> None:
    table = cal.reliability(np.array([0, 1, 1, 1]), np.array([0.05, 0.07, 0.95, 1.0]), bins=10)
    assert table.count.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert table.score[[0, 9]] == pytest.approx([0.06, 0.975])
    assert table.fakes[[0, 9]].tolist() == [0.5, 1.0]
    assert np.isnan(table.fakes[1:9]).all()


def test_a_calibration_survives_the_disk_exactly(tmp_path: Path) -> None:
    fitted = cal.fit_calibration(*overconfident(3, 300), source="val", sha256="ab")
    path = tmp_path / cal.FILE
    path.write_text(cal.as_json(fitted))
    assert cal.read_calibration(path) == fitted


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1},
        {"threshold": 2},
        {"unsure": [0.9, 0.1]},
        {"colour": 1},
        {"unsure": "ab"},
        {"unsure": [0.1]},
        {"threshold": "0.5"},
        {"threshold": float("nan")},
        {"temperature": 10**400},
        {"real": 1.5},
        {"fake": -1},
        {"auc_low": 7},
        {"rule": "guess"},
        {"source": 3},
    ],
)
def test_an_impossible_calibration_is_refused(tmp_path: Path, change: dict) -> None:
    path = tmp_path / cal.FILE
    path.write_text(json.dumps({**json.loads(cal.as_json(cal.Calibration())), **change}))
    with pytest.raises(UsageError, match=r"calibration\.json"):
        cal.read_calibration(path)


def test_logit_and_sigmoid_are_inverse_and_never_overflow() -> None:
    p = np.array([0.0, 1e-6, 0.3, 0.5, 1.0])
    assert cal.sigmoid(cal.logit(p)) == pytest.approx(p, abs=1e-6)
    assert cal.sigmoid(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
