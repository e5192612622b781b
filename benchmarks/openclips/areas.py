"""AUC with an interval over persons: every clip of a person is drawn with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.openclips.clips import Clip
from unmask.pipeline.scores.bootstrap import bootstrap
from unmask.pipeline.scores.gate import RESAMPLES, Share
from unmask.pipeline.scores.metrics import METRICS


def area(fake: NDArray, score: NDArray, group: Sequence[str], seed: int = 0) -> Share | None:
    """(R,) AUC and its interval by resampling persons, those of one class and of both apart; None
    without both classes.
    """
    if fake.all() or not fake.any():
        return None
    auc, label = METRICS["auc"], fake.astype(np.int64)
    statistics = {"auc": auc.resampled}
    drawn = bootstrap(label, score, np.asarray(group), 0.5, statistics, RESAMPLES, seed)
    return Share(float(auc.value(label, score, 0.5)), *drawn["auc"])


def by_kind(clips: Sequence[Clip], score: NDArray, seed: int = 0) -> dict[str, Share | None]:
    """Kind of forgery -> AUC against the real clips that are like it: those of same-file pairs for
    fakes with a pair, the others for the others.
    """
    found = {}
    for kind in sorted({clip.kind for clip in clips if clip.fake}):
        paired = any(clip.pair for clip in clips if clip.kind == kind)
        chosen = [
            n
            for n, clip in enumerate(clips)
            if clip.kind == kind or (not clip.fake and bool(clip.pair) == paired)
        ]
        fake = np.array([clips[n].fake for n in chosen])
        found[kind] = area(fake, score[chosen], [clips[n].group for n in chosen], seed)
    return found
