"""Is detector B better than detector A? Both scored on the same videos, tested at video level."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.pipeline.config import PersonRule, VideoRule
from unmask.pipeline.errors import UsageError
from unmask.pipeline.reports.tables import Table
from unmask.pipeline.scores.delong import DeLong, delong
from unmask.pipeline.scores.evaluate_scores import same_videos, sizes_of
from unmask.pipeline.scores.metrics import METRICS, measure, measure_difference
from unmask.pipeline.scores.results import Sizes
from unmask.pipeline.scores.table import Scores
from unmask.pipeline.scores.video_scores import video_scores

# Fewer and neither test says anything.
LEAST = 2


@dataclass(frozen=True)
class Comparison:
    """table: every metric of both and its difference with a 95 % interval.

    auc: DeLong's test.

    left_out: videos that only one of the two has.
    sizes: n, real, fake of the common ones.
    """

    table: Table
    auc: DeLong
    left_out: tuple[int, int]
    sizes: Sizes

    @property
    def verdict(self) -> str:
        """The AUC result as a sentence."""
        test = self.auc
        if test.p is None:
            return f"No test possible: {test.note}."
        if test.p >= 0.05:
            return f"No difference in AUC that these videos can show (DeLong p = {test.p:.3g})."
        better = "The second" if test.difference > 0 else "The first"
        return (
            f"{better} has the higher AUC, by {abs(test.difference):.3f} (DeLong p = {test.p:.3g})."
        )


def compare(
    first: Scores,
    second: Scores,
    *,
    rule: VideoRule = "mean",
    tracks: PersonRule = "max",
    threshold: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
    names: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Both tables joined per video and compared on the videos that both hold.

    Raises UsageError when they share too few videos or disagree about a label.
    """
    a, b = (video_scores(scores, rule, tracks) for scores in (first, second))
    try:
        rows_a, rows_b = same_videos(a, b)
    except ValueError as error:
        raise UsageError(f"these two cannot be compared: {error}") from error
    left_out = len(a) - len(rows_a), len(b) - len(rows_b)
    a, b = a.take(rows_a), b.take(rows_b)
    counts = sizes_of(a)
    if min(counts.real, counts.fake) < LEAST:
        raise UsageError(
            f"they share {counts.real} real and {counts.fake} fake videos; a comparison "
            "needs two of each"
        )
    one, two = (
        measure(t.label, t.score, threshold=threshold, resamples=resamples, seed=seed)
        for t in (a, b)
    )
    gaps = measure_difference(
        a.label, a.score, b.score, threshold=threshold, resamples=resamples, seed=seed
    )
    rows = tuple(
        (
            f"{metric.name}{' (less is better)' if metric.lower_is_better else ''}",
            one[key],
            two[key],
            gaps[key],
        )
        for key, metric in METRICS.items()
    )
    table = Table(f"{names[0]} and {names[1]}", ("metric", *names, "difference"), rows)
    return Comparison(table, delong(a.label, a.score, b.score), left_out, counts)
