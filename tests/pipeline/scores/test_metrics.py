"""Every metric against scikit-learn or a value worked out by hand, and null with a reason where it
does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.formulas import (
    calibration_error,
    confusion,
    equal_error_rate,
    tpr_at_fpr,
)
from unmask.pipeline.scores.metrics import (
    METRICS,
    Metric,
    add_metric,
    brief_keys,
    calibration_keys,
    measure,
    measure_difference,
    one_by_one,
)


def scored(
    seed: int, reals: int = 40, fakes: int = 60, digits: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes with many ties, because scores are rounded."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], [reals, fakes])
    score = 1 / (1 + np.exp(-rng.normal(label * 1.5 - 0.7, 1.0)))
    return label, np.round(score, digits)


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_scikit_learn(seed: int) -> None:
    label, score = scored(seed)
    values = {key: m.value for key, m in measure(label, score, threshold=0.4).items()}
    decision = score >= 0.4
    assert values["auc"] == sk.roc_auc_score(label, score)
    assert values["ap"] == sk.average_precision_score(label, score)
    assert values["acc"] == sk.accuracy_score(label, decision)
    assert values["balanced_acc"] == sk.balanced_accuracy_score(label, decision)
    assert values["f1"] == sk.f1_score(label, decision)
    assert values["log_loss"] == sk.log_loss(label, score)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    label, score = scored(7)
    fake, real = score[label == 1][:, None], score[label == 0][None]
    pairs = np.mean((fake > real) + 0.5 * (fake == real))
    assert measure(label, score)["auc"].value == pytest.approx(pairs, abs=1e-12)


def test_perfect_detector() -> None:
    label, score = np.array([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 1.0])
    values = {key: m.value for key, m in measure(label, score).items()}
    best = {"auc": 1, "ap": 1, "eer": 0, "acc": 1, "balanced_acc": 1, "f1": 1, "ece": 0}
    assert {key: values[key] for key in best} == best
    assert values["tpr_at_fpr_1"] == values["tpr_at_fpr_10"] == 1
    assert values["log_loss"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("fakes", [9, 20, 21, 43])
def test_a_sum_that_rounds_beyond_its_bound_is_the_bound(fakes: int) -> None:
    label, score = np.repeat([0, 1], [10, fakes]), np.linspace(0, 1, 10 + fakes)
    assert sk.average_precision_score(label, score) > 1
    assert measure(label, score)["ap"].value == 1


def test_detector_with_the_labels_swapped() -> None:
    label, score = np.array([0, 0, 1, 1]), np.array([0.9, 0.8, 0.2, 0.1])
    values = {key: m.value for key, m in measure(label, score).items()}
    assert (values["auc"], values["eer"], values["acc"], values["f1"]) == (0, 1, 0, 0)


def test_detector_that_always_says_the_same() -> None:
    label, score = np.repeat([0, 1], [30, 10]), np.full(40, 0.5)
    values = {key: m.value for key, m in measure(label, score).items()}
    assert values["auc"] == 0.5
    assert values["eer"] == 0.5
    assert values["ap"] == 0.25  # the share of fakes
    assert values["acc"] == 0.25  # 0.5 counts as fake
    assert values["tpr_at_fpr_10"] == 0.0
    assert values["log_loss"] == pytest.approx(np.log(2))
    assert values["ece"] == pytest.approx(0.25)


def test_equal_error_rate_by_hand() -> None:
    # Above 0.5: one of four reals, three of four fakes: both rates are exactly 1/4.
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    score = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9])
    assert equal_error_rate(label, score) == pytest.approx(0.25)
    # One real and two fakes, the real between: on the line from (0, 1/2) to (1, 1/2) both are 1/2.
    assert equal_error_rate(np.array([0, 1, 1]), np.array([0.5, 0.4, 0.6])) == pytest.approx(0.5)


def test_equal_error_rate_is_where_the_interpolated_roc_crosses() -> None:
    label, score = scored(3)
    fpr, tpr, _ = sk.roc_curve(label, score)
    grid = np.linspace(0, 1, 200_001)
    crossing = grid[np.argmin(np.abs(np.interp(grid, fpr, tpr) - (1 - grid)))]
    assert equal_error_rate(label, score) == pytest.approx(crossing, abs=1e-5)


def test_tpr_at_fpr_takes_an_operating_point_and_nothing_between() -> None:
    label = np.repeat([0, 1], [100, 4])
    score = np.concatenate([np.full(98, 0.1), [0.85, 0.75], [0.9, 0.8, 0.7, 0.05]])
    assert tpr_at_fpr(label, score, 0.01) == 0.5  # threshold 0.8 accuses one real of 100
    assert tpr_at_fpr(label, score, 0.02) == 0.75
    assert tpr_at_fpr(label, score, 0.0) == 0.25


def test_too_few_reals_for_one_percent_is_said() -> None:
    label, score = scored(0)
    values = measure(label, score)
    assert "40 reals" in values["tpr_at_fpr_1"].note and "2.5 %" in values["tpr_at_fpr_1"].note
    assert values["tpr_at_fpr_10"].note == ""


def test_calibration_error_is_the_weighted_gap_of_the_calibration_curve() -> None:
    label, score = scored(1, 300, 500, digits=12)
    share, mean = calibration_curve(label, score, n_bins=15)
    index = np.minimum((score * 15).astype(int), 14)
    weight = np.bincount(index, minlength=15)
    weight = weight[weight > 0] / len(label)
    assert calibration_error(label, score) == pytest.approx(
        np.sum(weight * np.abs(share - mean)), abs=1e-12
    )


@pytest.mark.parametrize(
    ("label", "defined", "reason"),
    [
        ([0, 0, 0], {"acc", "log_loss", "ece", "brier", "aurc"}, "no fake among the scored videos"),
        (
            [1, 1, 1],
            {"acc", "log_loss", "ece", "f1", "brier", "aurc"},
            "no real among the scored videos",
        ),
        ([], set(), "nothing was scored"),
    ],
)
def test_undefined_is_null_with_its_reason(
    label: list[int], defined: set[str], reason: str
) -> None:
    values = measure(np.array(label, int), np.array([0.2, 0.6, 0.7])[: len(label)], resamples=20)
    assert {key for key, m in values.items() if m.value is not None} == defined
    assert {m.note for m in values.values() if m.value is None} == {reason}
    assert all(m.low is None for m in values.values() if m.value is None)
    assert set(values) == set(METRICS)


@pytest.mark.parametrize("score", [[0.1, 1.2], [-0.1, 0.5], [np.nan, 0.5]])
def test_a_score_that_is_no_probability_is_refused(score: list[float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        measure(np.array([0, 1]), np.array(score))


def test_labels_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(ValueError, match="0 \\(real\\) or 1 \\(fake\\)"):
        measure(np.array([1, 2]), np.array([0.1, 0.2]))


def test_confusion_counts() -> None:
    counts = confusion(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.5, 0.2, 0.9, 0.4]), 0.5)
    assert counts == {"real_as_real": 2, "real_as_fake": 1, "fake_as_real": 1, "fake_as_fake": 1}


def squared(label: np.ndarray, score: np.ndarray, threshold: float) -> float:
    return float(np.mean((score - label) ** 2))


SQUARED = Metric(
    key="squared",
    name="Squared",
    meaning="mean squared distance of score and label",
    needs="any",
    value=squared,
    resampled=one_by_one(squared),
    lower_is_better=True,
    origin="somebody",
)


@pytest.fixture
def added(request: pytest.FixtureRequest) -> Iterator[Metric]:
    """A metric of another distribution, gone again after the test."""
    metric = replace(SQUARED, **getattr(request, "param", {}))
    add_metric(metric)
    yield metric
    METRICS.pop(metric.key)


def test_an_added_metric_is_measured_with_its_interval_and_its_difference(added: Metric) -> None:
    label, score = scored(3)
    other = np.clip(score + 0.1, 0, 1)
    found = measure(label, score, resamples=200, seed=1)[added.key]
    assert found.value == pytest.approx(np.mean((score - label) ** 2))
    assert found.low < found.value < found.high
    gap = measure_difference(label, score, other, resamples=200, seed=1)[added.key]
    assert gap.value == pytest.approx(squared(label, other, 0.5) - found.value)
    assert gap.low < gap.value < gap.high
    assert added.key in calibration_keys() and added.key not in brief_keys()


def fails(*_: object) -> float:
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("added", "note"),
    [
        ({"value": fails}, "squared of somebody failed: KeyError: 'lost'"),
        ({"value": lambda *_: float("nan")}, "squared of somebody gives nan"),
        ({"resampled": fails}, "squared of somebody failed: KeyError: 'lost'"),
        ({"resampled": lambda drawn: drawn.weight}, "gives \\(200, 100\\) values for 200"),
        ({"resampled": lambda drawn: np.full(len(drawn), np.nan)}, "no finite value"),
    ],
    indirect=["added"],
)
def test_a_failing_metric_of_somebody_else_is_null_with_the_reason_and_costs_nobody_else(
    added: Metric, note: str
) -> None:
    label, score = scored(3)
    found = measure(label, score, resamples=200, seed=1)
    broken = found.pop(added.key)
    assert broken.low is None and broken.high is None
    assert re.search(note, broken.note)
    METRICS.pop(added.key)
    assert found == measure(label, score, resamples=200, seed=1)
    METRICS[added.key] = added
    gap = measure_difference(label, score, score, resamples=200, seed=1)[added.key]
    assert gap.low is None and re.search(note, gap.note)


@pytest.mark.parametrize("key", ["auc", "Squared error", "", "__class__"])
def test_a_key_that_is_taken_or_none_is_refused(key: str) -> None:
    before = dict(METRICS)
    with pytest.raises(UsageError, match="somebody"):
        add_metric(replace(SQUARED, key=key))
    assert before == METRICS
