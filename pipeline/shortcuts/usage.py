"""Does a detector use the leak? Its scores beside the audit's out-of-fold logit, where the leak
does not differ, and once it is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.bootstrap import LEVEL
from unmask.pipeline.scores.calibration import logit as logit_of
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.scores.table import Scores
from unmask.pipeline.shortcuts.protocol import Audit, auc_of
from unmask.pipeline.shortcuts.signals import Signals

Floats = NDArray[np.float64]

CALIPER, RESAMPLES, LEAST = 0.2, 1000, 5


@dataclass(frozen=True)
class Usage:
    """videos: of the audit that the scores file has.

    within: (reals, fakes) Spearman correlation of the detector's and the audit's logits inside
        each class; away from 0 the detector moves with the leak where the label does not.
    auc: of these videos. matched: of `pairs` nearest pairs of both classes whose audit logits
        differ by at most 0.2 standard deviations; far below auc, the leak carried it.
    after, drop: AUC of the scores of re-encoded videos and how much it fell; placebo: the same
        for videos treated alike that had no leak. None where no such scores were given.
    """

    videos: int
    within: tuple[Measure, Measure]
    auc: float
    matched: Measure
    pairs: int
    after: float | None = None
    drop: float | None = None
    placebo: float | None = None


def usage_of(
    audit: Audit,
    signals: Signals,
    scores: Scores,
    after: Scores | None = None,
    placebo: Scores | None = None,
    seed: int = 0,
) -> Usage:
    """The three tests, on video scores.

    after: of the same videos, both classes re-encoded to one rate, size and codec (and silence
        trimmed). placebo: the same treatment on videos that were uniform before.
    Raises UsageError where the file has fewer than five videos of a class in common with the audit.
    """
    place = {name: row for row, name in enumerate(_names(scores))}
    keys = list(zip(signals.video_id, signals.method, strict=True))
    rows = [(i, place[key]) for i, key in enumerate(keys) if key in place]
    mine = np.array([i for i, _ in rows], dtype=np.int64)
    theirs = np.array([j for _, j in rows], dtype=np.int64)
    label = signals.label[mine]
    if min((label == REAL).sum(), (label == FAKE).sum()) < LEAST:
        raise UsageError(
            f"the scores file has {len(rows)} of the {len(signals)} audited videos; video_id and "
            "method must be those of the data set"
        )
    score, leak = logit_of(scores.score[theirs]), audit.logit[mine]
    group = np.unique(np.array(signals.group, dtype=object)[mine].astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    within = tuple(
        _correlation(score[label == c], leak[label == c], group[1][label == c], rng)
        for c in (REAL, FAKE)
    )
    chosen = _matched(label, leak)
    whole, changed = (
        auc_of(label, score),
        None if after is None else auc_of(after.label, after.score),
    )
    return Usage(
        videos=len(rows),
        within=(within[0], within[1]),
        auc=whole,
        matched=_matched_auc(score, chosen, rng),
        pairs=len(chosen),
        after=changed,
        drop=None if changed is None else whole - changed,
        placebo=None if placebo is None else whole - auc_of(placebo.label, placebo.score),
    )


def _names(scores: Scores) -> list[tuple[str, str]]:
    return list(zip(scores.video_id.tolist(), scores.method.tolist(), strict=True))


def _correlation(score: Floats, leak: Floats, group: NDArray, rng: np.random.Generator) -> Measure:
    """Spearman's, with a bootstrap over groups."""
    if len(set(score)) < 2 or len(set(leak)) < 2:
        return Measure(None, note="no variance")
    names = np.unique(group)
    members = [np.flatnonzero(group == name) for name in names]
    values = []
    for _ in range(RESAMPLES // 4):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(names), len(names))])
        if len(set(score[rows])) > 1 and len(set(leak[rows])) > 1:
            values.append(_spearman(score[rows], leak[rows]))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if values else (-1.0, 1.0)
    return Measure(_spearman(score, leak), float(low), float(high))


def _spearman(one: Floats, two: Floats) -> float:
    return float(np.corrcoef(rankdata(one), rankdata(two))[0, 1])


def _matched(label: NDArray, leak: Floats) -> list[tuple[int, int]]:
    """(real, fake) rows, nearest first, each used once, within the caliper."""
    reals, fakes = np.flatnonzero(label == REAL), np.flatnonzero(label == FAKE)
    gap = np.abs(leak[reals][:, None] - leak[fakes][None])
    inside = np.argwhere(gap <= CALIPER * max(float(leak.std()), 1e-12))
    order = np.argsort(gap[inside[:, 0], inside[:, 1]], kind="stable")
    used_reals, used_fakes, pairs = set(), set(), []
    for r, f in inside[order].tolist():
        if r not in used_reals and f not in used_fakes:
            used_reals.add(r)
            used_fakes.add(f)
            pairs.append((int(reals[r]), int(fakes[f])))
    return pairs


def _matched_auc(score: Floats, pairs: list[tuple[int, int]], rng: np.random.Generator) -> Measure:
    if len(pairs) < LEAST:
        return Measure(None, note=f"{len(pairs)} matched pairs")
    rows = np.array(pairs)
    label = np.repeat([REAL, FAKE], len(rows))

    def auc(chosen: NDArray) -> float:
        return auc_of(label, np.concatenate([score[chosen[:, 0]], score[chosen[:, 1]]]))

    drawn = [auc(rows[rng.integers(0, len(rows), len(rows))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Measure(auc(rows), float(low), float(high))
