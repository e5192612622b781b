"""A scores table in, every number of an evaluation out: levels, methods, compressions, datasets,
who was not scored.

No model, no cache and no pictures here: `unmask metrics` runs exactly this on a file that others
made, and evaluate runs it on the file it has just written.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.brier import BINS, brier
from unmask.pipeline.scores.calibration import Calibration, calibrate
from unmask.pipeline.scores.formulas import confusion
from unmask.pipeline.scores.metrics import measure
from unmask.pipeline.scores.results import (
    Block,
    Calibrated,
    Coverage,
    Honesty,
    Options,
    Result,
    Sizes,
    UnsureZone,
)
from unmask.pipeline.scores.risk_coverage import risk_coverage
from unmask.pipeline.scores.table import Scores, concatenate, groups, scores_table
from unmask.pipeline.scores.video_scores import video_scores


def evaluate_scores(
    scores: Scores,
    options: Options,
    coverage: Coverage | None = None,
    calibration: Calibration | None = None,
) -> Result:
    """All numbers of one scores table.

    coverage: who should have been scored beside those of the table; `scored` is filled in.
    """
    coverage = coverage or Coverage()
    joined, rows = video_scores(scores, options.rule, options.tracks), scores.by_row()
    levels, rows_by = {}, {}
    if scores.level != "video":
        levels[scores.level] = block(rows, options)
        rows_by = breakdown(rows, "method", options)
    levels["video"] = block(joined, options)
    sizes = levels["video"].sizes
    half = block(with_unscored(joined, coverage), options) if any(coverage.unscored) else None
    return Result(
        options=options,
        levels=levels,
        datasets=tuple(sorted(set(joined.dataset.tolist()))),
        compressions=tuple(sorted(set(joined.compression.tolist()))),
        by={
            name: breakdown(joined, name, options) for name in ("method", "compression", "dataset")
        },
        rows_by={"method": rows_by},
        confusion=confusion(joined.label, joined.score, options.threshold),
        coverage=replace(coverage, scored=(sizes.real, sizes.fake)),
        failed_as_half=half,
        calibrated=None if calibration is None else calibrated(joined, options, calibration),
        honesty=honesty(joined, options.threshold),
    )


def honesty(joined: Scores, threshold: float) -> Honesty | None:
    """Brier's parts over equal bins of the score, and risk over coverage at the threshold."""
    if not len(joined):
        return None
    label, score = joined.label, joined.score
    return Honesty(
        brier=brier(label, score, BINS),
        even=brier(label, score, BINS, even=True),
        risk=risk_coverage(label, score, threshold),
    )


def block(scores: Scores, options: Options) -> Block:
    """n per class and every metric with its interval over videos."""
    values = measure(
        scores.label,
        scores.score,
        threshold=options.threshold,
        unit=scores.video,
        resamples=options.resamples,
        seed=options.seed,
    )
    return Block(sizes_of(scores), values)


def sizes_of(scores: Scores) -> Sizes:
    """How many rows, reals, fakes and videos a table of scores has."""
    reals = int((scores.label == REAL).sum())
    videos = len(np.unique(scores.video))
    return Sizes(len(scores), reals, len(scores) - reals, videos)


def breakdown(scores: Scores, column: str, options: Options) -> dict[str, Block]:
    """One block per value of the column.

    Methods: the fakes of that method against ALL reals, because a method has no reals of its own
    (the real clips of a partly fake video are reals). Compressions and
    datasets: both classes of that value.
    """
    values = getattr(scores, column)
    result = {}
    for name in sorted(set(values.tolist())):
        member = values == name
        if column == "method":
            if not (scores.label[member] == FAKE).any():
                continue
            member = (member & (scores.label == FAKE)) | (scores.label == REAL)
        result[name] = block(scores.take(member), options)
    return result


def with_unscored(joined: Scores, coverage: Coverage) -> Scores:
    """The videos and, for each one that was never scored, a row of its label with score 0.5:
    nothing is known.
    """
    reals, fakes = coverage.unscored
    count = reals + fakes
    lost = scores_table(
        video_id=[f"unscored-{i}" for i in range(count)],
        label=np.repeat([REAL, FAKE], [reals, fakes]),
        score=np.full(count, 0.5),
        method=["unscored"] * count,
    )
    return concatenate([joined, lost])


def calibrated(joined: Scores, options: Options, calibration: Calibration) -> Calibrated:
    """The video numbers at the calibrated score and its threshold, and what the unsure zone keeps
    back.
    """
    scores = joined.with_score(calibrate(joined.score, calibration.temperature))
    low, high = calibration.unsure
    decided = (scores.score < low) | (scores.score >= high)
    wrong = (scores.score >= calibration.threshold) != (scores.label == FAKE)
    called_wrong = decided & wrong
    return Calibrated(
        block=block(scores, replace(options, threshold=calibration.threshold)),
        threshold=calibration.threshold,
        temperature=calibration.temperature,
        unsure=UnsureZone(
            low,
            high,
            _share(~decided),
            _share(wrong[decided]),
            _share(wrong),
            _share(called_wrong[scores.label == REAL]),
            _share(called_wrong[scores.label == FAKE]),
            calibration.promise,
        ),
        confusion=confusion(scores.label, scores.score, calibration.threshold),
        source=calibration.source,
        note=calibration.note,
    )


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def most_wrong(joined: Scores, count: int = 6) -> NDArray[np.int64]:
    """Rows of the videos whose score is farthest from their label, worst first, at most `count`
    per class.
    """
    distance = np.abs(joined.score - joined.label)
    order = np.argsort(-distance, kind="stable")
    rank = {REAL: 0, FAKE: 0}
    chosen = []
    for row in order.tolist():
        label = int(joined.label[row])
        if rank[label] < count:
            rank[label] += 1
            chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def same_videos(first: Scores, second: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the videos that both tables hold, in the order of the first.

    Raises ValueError for a video whose two labels differ.
    """
    names = ("dataset", "method", "compression", "video_id")
    both = groups(
        *(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names)
    )
    place = {key: row for row, key in enumerate(both[len(first) :].tolist())}
    pairs = [
        (row, place[key]) for row, key in enumerate(both[: len(first)].tolist()) if key in place
    ]
    a, b = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    differing = a[first.label[a] != second.label[b]]
    if len(differing):
        name, label = first.video_id[differing[0]], first.label[differing[0]]
        raise ValueError(
            f"video {name!r} has label {label} in the first file and {1 - label} in the second"
        )
    return a, b
