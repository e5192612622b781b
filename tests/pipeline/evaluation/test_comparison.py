"""Two detectors on the same videos: the test is DeLong's, the intervals are paired, strangers are
left out.
"""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation.comparison import compare
from unmask.pipeline.scores.delong import delong
from unmask.pipeline.scores.metrics import METRICS, Metric, measure, one_by_one
from unmask.pipeline.scores.table import Scores, scores_table
from unmask.pipeline.scores.video_scores import video_scores


def detector(seed: int, strength: float, names: range = range(80), clips: int = 2) -> Scores:
    rng = np.random.default_rng(seed)
    label = np.array([n % 2 for n in names])
    shared = np.random.default_rng(99).normal(size=200)[list(names)]
    logit = shared[:, None] + strength * label[:, None] + rng.normal(0, 0.7, (len(label), clips))
    ids = [f"v{n}" for n in names]
    return scores_table(
        video_id=np.repeat(ids, clips), label=np.repeat(label, clips), logit=logit.ravel()
    )


def test_a_better_detector_is_found_better() -> None:
    weak, strong = detector(1, 0.3), detector(2, 2.5)
    found = compare(weak, strong, resamples=200)
    a, b = video_scores(weak), video_scores(strong)
    assert found.auc == delong(a.label, a.score, b.score)
    assert found.auc.p < 0.01 and "second has the higher AUC" in found.verdict
    row = {name: cells for name, *cells in found.table.rows}["AUC"]
    assert row[0].value == measure(a.label, a.score)["auc"].value
    assert row[2].value == pytest.approx(row[1].value - row[0].value)
    assert 0 < row[2].low < row[2].value < row[2].high


def test_the_order_of_the_lines_does_not_matter() -> None:
    first, second = detector(1, 1.0), detector(2, 1.5)
    shuffled = second.take(np.random.default_rng(0).permutation(len(second)))
    plain, mixed = compare(first, second, resamples=50), compare(first, shuffled, resamples=50)
    assert mixed.auc.p == pytest.approx(plain.auc.p, abs=1e-12)


def test_equal_detectors_show_no_difference() -> None:
    found = compare(detector(1, 1.0), detector(1, 1.0), resamples=50)
    assert (found.auc.difference, found.auc.p) == (0.0, 1.0)
    assert "No difference" in found.verdict
    assert all((row[3].low, row[3].high) == (0.0, 0.0) for row in found.table.rows)


def test_only_common_videos_are_compared() -> None:
    found = compare(detector(1, 1.0, range(0, 60)), detector(2, 1.0, range(20, 90)), resamples=20)
    assert found.left_out == (20, 30)
    assert found.sizes.n == 40


def test_strangers_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="share 0 real and 0 fake"):
        compare(detector(1, 1.0, range(0, 20)), detector(1, 1.0, range(20, 40)))


def test_two_labels_for_one_video_are_refused() -> None:
    first = scores_table(video_id=list("abcd"), label=[0, 0, 1, 1], score=[0.1, 0.2, 0.3, 0.4])
    second = scores_table(video_id=list("abcd"), label=[0, 1, 1, 1], score=[0.1, 0.2, 0.3, 0.4])
    with pytest.raises(UsageError, match="'b' has label 0"):
        compare(first, second)


def test_every_metric_is_compared_also_one_that_somebody_else_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def squared(label: np.ndarray, score: np.ndarray, threshold: float) -> float:
        return float(np.mean((score - label) ** 2))

    monkeypatch.setitem(
        METRICS,
        "squared",
        Metric("squared", "Squared", "squared distance", "any", squared, one_by_one(squared), True),
    )
    weak, strong = detector(1, 0.3), detector(2, 2.5)
    rows = {name: cells for name, *cells in compare(weak, strong, resamples=50).table.rows}
    assert len(rows) == len(METRICS)
    first, _, gap = rows["Squared (less is better)"]
    a, b = video_scores(weak), video_scores(strong)
    assert first.value == pytest.approx(np.mean((a.score - a.label) ** 2))
    assert gap.value == pytest.approx(np.mean((b.score - b.label) ** 2) - first.value)
    assert gap.low <= gap.value <= gap.high < 0
