"""Intervals hold what they promise: vectorised metrics are the metrics, coverage is simulated,
DeLong is permuted.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from unmask.pipeline.scores import metrics
from unmask.pipeline.scores.bootstrap import Resamples, Sorted, draw
from unmask.pipeline.scores.bootstrap import bootstrap as bootstrap_of
from unmask.pipeline.scores.delong import auc_covariance, delong

STATISTICS = {key: metric.resampled for key, metric in metrics.METRICS.items()}


def bootstrap(
    label: np.ndarray, score: np.ndarray, unit: np.ndarray | None, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    return bootstrap_of(label, score, unit, 0.5, STATISTICS, resamples, seed)


def scored(
    rng: np.random.Generator, reals: int, fakes: int, gap: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    label = np.repeat([0, 1], [reals, fakes])
    return label, 1 / (1 + np.exp(-rng.normal(label * gap - gap / 2, 1.0)))


@pytest.mark.parametrize("digits", [1, 2, 12])
@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.0, 1.0])
def test_weight_one_gives_the_plain_metrics(digits: int, threshold: float) -> None:
    label, score = scored(np.random.default_rng(digits), 37, 55)
    score = np.round(score, digits)
    rows = Sorted.of(label, score, np.arange(len(label)))
    plain = metrics.measure(label, score, threshold=threshold)
    drawn = Resamples(rows, np.ones((1, len(label))), threshold)
    for key, statistic in STATISTICS.items():
        assert statistic(drawn)[0] == pytest.approx(plain[key].value, abs=1e-12), key


def test_a_weight_is_a_repetition() -> None:
    rng = np.random.default_rng(5)
    label, score = scored(rng, 20, 25)
    score = np.round(score, 1)
    rows = Sorted.of(label, score, np.arange(len(label)))
    count = draw(label, 6, rng)
    drawn = Resamples(rows, count[:, rows.unit], 0.5)
    several = {key: statistic(drawn) for key, statistic in STATISTICS.items()}
    slow = {key: metrics.one_by_one(m.value)(drawn) for key, m in metrics.METRICS.items()}
    for b in range(len(count)):
        again = np.repeat(np.arange(len(label)), count[b].astype(int))
        plain = metrics.measure(label[again], score[again])
        for key in metrics.METRICS:
            assert several[key][b] == pytest.approx(plain[key].value, abs=1e-12), key
            assert slow[key][b] == pytest.approx(plain[key].value, abs=1e-12), key


def test_a_draw_keeps_the_number_of_each_class() -> None:
    label = np.repeat([0, 1, 0], [3, 10, 4])
    count = draw(label, 200, np.random.default_rng(0))
    assert (count[:, label == 0].sum(1) == 7).all()
    assert (count[:, label == 1].sum(1) == 10).all()
    assert count.mean(0) == pytest.approx(np.ones(17), abs=0.35)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    label, score = scored(np.random.default_rng(1), 20, 20)
    whole = bootstrap(label, score, None, 64, seed=3)
    assert whole == bootstrap(label, score, None, 64, seed=3)
    assert whole != bootstrap(label, score, None, 64, seed=4)
    monkeypatch.setattr("unmask.pipeline.scores.bootstrap.BLOCK", 40 * 7)
    for key, (low, high) in bootstrap(label, score, None, 4000, seed=3).items():
        assert low <= high
        assert (low, high) == pytest.approx(whole[key], abs=0.15), key


def test_the_interval_of_auc_covers_the_truth_about_as_often_as_it_says() -> None:
    # Normal scores a standard deviation apart: AUC = Phi(1 / sqrt 2).
    truth = 0.5 * (1 + math.erf(1 / 2))
    rng = np.random.default_rng(2)
    inside = 0
    trials = 300
    for trial in range(trials):
        label, score = scored(rng, 60, 60)
        low, high = bootstrap(label, score, None, 300, seed=trial)["auc"]
        inside += low <= truth <= high
    # 95 % +- 4 binomial standard deviations, and the percentile interval is known to be a little
    # short.
    assert 0.89 <= inside / trials <= 0.99


def test_videos_are_drawn_and_not_clips() -> None:
    # 16 copies of every video add no knowledge: the interval must stay as wide as with one row per
    # video.
    label, score = scored(np.random.default_rng(4), 50, 50)
    one = bootstrap(label, score, None, 800, seed=0)["auc"]
    unit = np.repeat(np.arange(100), 16)
    many = bootstrap(np.repeat(label, 16), np.repeat(score, 16), unit, 800, seed=0)["auc"]
    assert many == pytest.approx(one, abs=1e-9)
    naive = bootstrap(np.repeat(label, 16), np.repeat(score, 16), None, 800, seed=0)["auc"]
    assert naive[1] - naive[0] < 0.4 * (one[1] - one[0])


def test_difference_of_a_detector_to_itself_is_exactly_zero() -> None:
    label, score = scored(np.random.default_rng(6), 30, 30)
    gaps = metrics.measure_difference(label, score, score, resamples=100)
    assert {(gap.value, gap.low, gap.high) for gap in gaps.values()} == {(0.0, 0.0, 0.0)}


def test_placements_give_the_auc_and_the_covariance_of_the_paper() -> None:
    rng = np.random.default_rng(8)
    label, first = scored(rng, 15, 11)
    first, second = np.round(first, 1), np.round(scored(rng, 15, 11)[1], 1)
    auc, covariance = auc_covariance(label, [first, second])
    # Literal form of the paper: psi over all pairs, then the two sample covariances.
    psi = []
    for score in (first, second):
        x, y = score[label == 1][:, None], score[label == 0][None]
        psi.append((x > y) + 0.5 * (x == y))
    tens = np.cov(np.stack([p.mean(1) for p in psi])) / 11
    ones = np.cov(np.stack([p.mean(0) for p in psi])) / 15
    assert auc == pytest.approx([p.mean() for p in psi], abs=1e-12)
    assert covariance == pytest.approx(tens + ones, abs=1e-12)
    assert auc[0] == pytest.approx(metrics.measure(label, first)["auc"].value, abs=1e-12)


def permutation_p(
    label: np.ndarray, first: np.ndarray, second: np.ndarray, rounds: int, seed: int
) -> float:
    """Venkatraman and Begg's idea: under equality the two detectors' ranks of a video may be
    exchanged.
    """
    rng = np.random.default_rng(seed)
    pair = np.stack([first.argsort().argsort(), second.argsort().argsort()]).astype(float)

    def difference(ranks: np.ndarray) -> np.ndarray:
        fake, real = ranks[..., label == 1], ranks[..., label == 0]
        above = (fake[..., :, None] > real[..., None, :]) + 0.5 * (
            fake[..., :, None] == real[..., None, :]
        )
        auc = above.mean((-1, -2))
        return auc[..., 1] - auc[..., 0]

    observed = abs(difference(pair[None])[0])
    swap = rng.random((rounds, 1, len(label))) < 0.5
    permuted = np.where(swap, pair[::-1][None], pair[None])
    return float(np.mean(np.abs(difference(permuted)) >= observed - 1e-12))


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.2])
def test_delong_agrees_with_a_permutation_test(shift: float) -> None:
    rng = np.random.default_rng(round(10 * shift) + 1)
    label = np.repeat([0, 1], [40, 40])
    shared = rng.normal(size=80)
    first = shared + rng.normal(size=80) + label
    second = shared + rng.normal(size=80) + label * (1 + shift)
    ours = delong(label, first, second)
    assert ours.p == pytest.approx(permutation_p(label, first, second, 1500, 0), abs=0.05)
    assert (ours.low <= 0 <= ours.high) == (ours.p >= 0.05)


def test_delong_rejects_equal_detectors_one_time_in_twenty() -> None:
    rng = np.random.default_rng(9)
    label = np.repeat([0, 1], [50, 50])
    p = []
    for _ in range(400):
        shared = rng.normal(size=100) + label
        p.append(delong(label, shared + rng.normal(size=100), shared + rng.normal(size=100)).p)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_delong_of_two_detectors_with_the_same_order() -> None:
    label, score = scored(np.random.default_rng(3), 20, 20)
    same = delong(label, score, score**3)
    assert (same.difference, same.p) == (0.0, 1.0)
    assert "alike" in same.note


def test_delong_needs_two_of_each_class() -> None:
    with pytest.raises(ValueError, match="two reals and two fakes"):
        delong(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]))
