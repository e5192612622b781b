"""AUC with an interval over persons: every clip of a person is drawn with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.openclips.clips import Clip
from unmask.pipeline.scores.bootstrap import LEVEL
from unmask.pipeline.scores.gate import RESAMPLES, Share


def area(fake: NDArray, score: NDArray, group: Sequence[str], seed: int = 0) -> Share | None:
    """(R,) AUC and its interval by resampling persons; None without both classes.

    Resamples that draw one class only are left out.
    """
    if fake.all() or not fake.any():
        return None
    margin = score[fake][:, None] - score[~fake][None, :]
    won = (margin > 0) + 0.5 * (margin == 0)  # (F, R)
    names, whose = np.unique(np.asarray(group), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    weight = drawn[:, whose].astype(float)  # (B, R)
    of_fake, of_real = weight[:, fake], weight[:, ~fake]
    total = of_fake.sum(1) * of_real.sum(1)
    kept = total > 0
    values = np.einsum("bf,fr,br->b", of_fake, won, of_real)[kept] / total[kept]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Share(float(won.mean()), float(low), float(high))


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
