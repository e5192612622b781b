"""A scores table in, every number of an evaluation out: levels, methods, compressions, datasets,
who was not scored.

No model, no cache and no pictures here: `unmask metrics` runs exactly this on a file that others
made, and evaluate runs it on the file it has just written. The result is plain JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.calibration import Calibration, calibrate
from unmask.pipeline.scores.metrics import Measure, confusion, measure
from unmask.pipeline.scores.table import Scores, concatenate, groups, scores_table
from unmask.pipeline.scores.video_scores import video_scores

FORMAT = 1


@dataclass(frozen=True)
class Coverage:
    """Who should have been scored. failed and missing: (videos of REAL, videos of FAKE).

    failed: extraction saw the file and kept nothing; by reason in `reasons`.
    missing: named in the manifest, not in the cache.
    known: an outcomes list lay beside the manifest, so that failed = 0 means that none failed.
    """

    failed: tuple[int, int] = (0, 0)
    missing: tuple[int, int] = (0, 0)
    reasons: dict[str, int] = field(default_factory=dict)
    known: bool = False

    @property
    def unscored(self) -> tuple[int, int]:
        return self.failed[0] + self.missing[0], self.failed[1] + self.missing[1]


@dataclass(frozen=True)
class Options:
    """How the numbers are made. rule: mean, max, median or mean-logit over clips; tracks: the same
    over persons.
    """

    rule: str = "mean"
    tracks: str = "max"
    threshold: float = 0.5
    resamples: int = 1000
    seed: int = 0


def evaluate_scores(
    scores: Scores,
    options: Options,
    coverage: Coverage | None = None,
    calibration: Calibration | None = None,
) -> dict[str, object]:
    """All numbers of one scores table: a clip or frame counts by its own label, a video by the
    video's.

    Returns a JSON object with levels (clip or frame, and video), by (method, compression, dataset;
    video level), rows_by (method; clip or frame level), sets, confusion, coverage, failed_as_half
    and, with a calibration, the video numbers after it.
    """
    coverage = coverage or Coverage()
    joined, rows = video_scores(scores, options.rule, options.tracks), scores.by_row()
    levels: dict[str, object] = {}
    if scores.level != "video":
        levels[scores.level] = block(rows, options)
    levels["video"] = block(joined, options)
    result: dict[str, object] = {
        "format": FORMAT,
        "options": {
            "rule": options.rule,
            "tracks": options.tracks,
            "threshold": options.threshold,
            "resamples": options.resamples,
            "seed": options.seed,
            "interval": 0.95,
        },
        "levels": levels,
        "sets": {
            name: sorted(set(getattr(joined, name).tolist())) for name in ("dataset", "compression")
        },
        "by": {
            name: breakdown(joined, name, options) for name in ("method", "compression", "dataset")
        },
        "rows_by": {"method": breakdown(rows, "method", options)}
        if scores.level != "video"
        else {"method": {}},
        "confusion": confusion(joined.label, joined.score, options.threshold),
        "coverage": coverage_json(joined, coverage),
        "failed_as_half": None,
    }
    if any(coverage.unscored):
        result["failed_as_half"] = block(with_unscored(joined, coverage), options)
    if calibration is not None:
        warm = joined.with_score(calibrate(joined.score, calibration.temperature))
        result["calibrated"] = calibrated(warm, options, calibration)
    return result


def block(scores: Scores, options: Options) -> dict[str, object]:
    """n per class and every metric with its interval over videos."""
    values = measure(
        scores.label,
        scores.score,
        threshold=options.threshold,
        unit=scores.video,
        resamples=options.resamples,
        seed=options.seed,
    )
    return {**sizes(scores), "metrics": {key: value.as_json() for key, value in values.items()}}


def sizes(scores: Scores) -> dict[str, int]:
    """n, reals and fakes of the rows, and of how many videos they come."""
    reals = int((scores.label == REAL).sum())
    return {
        "n": len(scores),
        "real": reals,
        "fake": len(scores) - reals,
        "videos": len(np.unique(scores.video)),
    }


def breakdown(scores: Scores, column: str, options: Options) -> dict[str, object]:
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


def coverage_json(joined: Scores, coverage: Coverage) -> dict[str, object]:
    """Denominators: scored, failed and missing videos per class; share scored of all that should
    have been.
    """
    scored = sizes(joined)
    failed, missing = coverage.failed, coverage.missing
    total = scored["n"] + sum(failed) + sum(missing)
    return {
        "scored": {"n": scored["n"], "real": scored["real"], "fake": scored["fake"]},
        "failed": {
            "n": sum(failed),
            "real": failed[REAL],
            "fake": failed[FAKE],
            "known": coverage.known,
        },
        "missing": {"n": sum(missing), "real": missing[REAL], "fake": missing[FAKE]},
        "reasons": coverage.reasons,
        "share": scored["n"] / total if total else None,
    }


def calibrated(warm: Scores, options: Options, calibration: Calibration) -> dict[str, object]:
    """The video numbers at the calibrated score and its threshold, and what the unsure zone keeps
    back.
    """
    low, high = calibration.unsure
    at = Options(
        options.rule, options.tracks, calibration.threshold, options.resamples, options.seed
    )
    unsure = (warm.score >= low) & (warm.score < high)
    decided = ~unsure
    wrong = (warm.score >= calibration.threshold) != (warm.label == FAKE)
    return {
        **block(warm, at),
        "threshold": calibration.threshold,
        "temperature": calibration.temperature,
        "unsure": {
            "low": low,
            "high": high,
            "share": float(unsure.mean()) if len(unsure) else None,
            "wrong_outside": _share(wrong[decided]),
            "wrong_everywhere": _share(wrong),
        },
        "confusion": confusion(warm.label, warm.score, calibration.threshold),
        "source": calibration.source,
        "note": calibration.note,
    }


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def measures(block: dict[str, object]) -> dict[str, Measure]:
    """The metrics of a block as records again."""
    return {key: Measure(**value) for key, value in block["metrics"].items()}


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
