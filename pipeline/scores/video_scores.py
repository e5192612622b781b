"""A video's score from its clips' scores: the rules, and the one place that applies them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import PERSON_RULES, VIDEO_RULES, PersonRule, VideoRule
from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.calibration import logit, sigmoid
from unmask.pipeline.scores.table import ABSENT, Scores, groups


def video_scores(scores: Scores, rule: VideoRule = "mean", tracks: PersonRule = "max") -> Scores:
    """One row per video: its clips joined by `rule`, then its persons by `tracks` (max: one fake
    face is enough).

    rule: mean, max or median of the probabilities, or mean-logit (sigmoid of the mean logit). The
    logit column is that of the joined score, and clip, frame, track and row_label become absent.
    Raises UsageError for a rule that is not known.
    """
    for given, known in ((rule, VIDEO_RULES), (tracks, PERSON_RULES)):
        if given not in known:
            raise UsageError(f"no such rule: {given!r}; known are {', '.join(known)}")
    persons = _joined(scores, groups(scores.video, scores.track), rule)
    joined = _joined(persons, persons.video, tracks)
    none = np.full(len(joined), ABSENT, dtype=np.int64)
    return replace(
        joined, logit=logit(joined.score), clip=none, frame=none, track=none, row_label=none
    )


def _mean_logit(score: NDArray[np.float64], value: NDArray[np.float64]) -> float:
    return float(sigmoid(value.mean()))


# Clip scores (N,) and their logits (N,) -> the joined score.
RULES: dict[VideoRule, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "mean": lambda score, value: float(score.mean()),
    "max": lambda score, value: float(score.max()),
    "median": lambda score, value: float(np.median(score)),
    "mean-logit": _mean_logit,
}


def _joined(scores: Scores, group: NDArray[np.int64], name: VideoRule) -> Scores:
    # One row has its own mean, highest and median; the mean of its logit passes through rounding.
    if not len(scores) or (group[-1] == len(scores) - 1 and name != "mean-logit"):
        return scores
    rule = RULES[name]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    parts = np.split(order, starts[1:])
    one = scores.take(order[starts])
    return one.with_score(
        np.array([rule(scores.score[part], scores.logit[part]) for part in parts])
    )
