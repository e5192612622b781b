"""Rows of pairs as numbers of methods: means with intervals, and the pairs worth looking at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import QualityConfig
from unmask.pipeline.quality.measure import Measured
from unmask.pipeline.quality.mixing import drawn_groups
from unmask.pipeline.quality.space import Kind, Space
from unmask.pipeline.scores.bootstrap import LEVEL
from unmask.pipeline.scores.metrics import Measure

# Fewer groups than this give a bootstrap that is no interval.
LEAST_GROUPS = 5


@dataclass(frozen=True)
class Rating:
    """One method at one compression.

    pairs: measured; groups: leakage groups of them. mask: its definition.
    measures: name -> mean over pairs with its interval. refused: why it is not rated, or "".
    best, median, worst: video_id by Mask-SSIM, None where no pair has one.
    """

    method: str
    compression: str
    pairs: int
    groups: int
    clips: int
    frames: int
    unmasked: int
    whole_face: int
    mask: str
    measures: dict[str, Measure]
    refused: str = ""
    best: str | None = None
    median: str | None = None
    worst: str | None = None

    @property
    def kind(self) -> Kind:
        return self.method, self.compression


def rate(
    rows: Sequence[Measured], config: QualityConfig, space: Space | None = None
) -> list[Rating]:
    """A rating of each method, in their order of name; with fewer pairs than config.least_pairs one
    without numbers.
    """
    by_kind: dict[Kind, list[Measured]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    return [_rating(kind, by_kind[kind], config, space) for kind in sorted(by_kind)]


def _rating(
    kind: Kind, rows: Sequence[Measured], config: QualityConfig, space: Space | None
) -> Rating:
    group = np.array([row.group for row in rows])
    few = len(rows) < config.least_pairs
    measures: dict[str, Measure] = {}
    if not few:
        for name in dict.fromkeys(name for row in rows for name in row.values):
            values = [row.values.get(name) for row in rows]
            measures[name] = mean_of(values, group, config.resamples, config.seed)
        measures |= space.numbers.get(kind, {}) if space else {}
    ordered = (
        []
        if few
        else sorted(
            (row for row in rows if row.values["mask_ssim"] is not None),
            key=lambda row: (row.values["mask_ssim"], row.video_id),
        )
    )
    named = [row.video_id for row in ordered]
    return Rating(
        *kind,
        pairs=len(rows),
        groups=len(set(group.tolist())),
        clips=sum(row.clips for row in rows),
        frames=sum(row.frames for row in rows),
        unmasked=sum(row.unmasked for row in rows),
        whole_face=sum(row.whole_face for row in rows),
        mask=rows[0].mask,
        measures=measures,
        refused=f"{len(rows)} of at least {config.least_pairs} pairs" if few else "",
        best=named[-1] if named else None,
        median=named[len(named) // 2] if named else None,
        worst=named[0] if named else None,
    )


def mean_of(
    values: Sequence[float | None], group: NDArray, resamples: int = 1000, seed: int = 0
) -> Measure:
    """Mean over pairs and its 95 % bootstrap interval over leakage groups, without one where there
    are fewer than five groups.
    """
    known = np.array([value is not None for value in values])
    if not known.any():
        return Measure(None, note="no frame has it")
    value = np.array([value for value in values if value is not None], dtype=np.float64)
    names, place = np.unique(group[known], return_inverse=True)
    mean = float(value.mean())
    if len(names) < LEAST_GROUPS:
        return Measure(mean, note=f"leakage groups: {len(names)}, too few for an interval")
    total = np.bincount(place, value, len(names))
    count = np.bincount(place, minlength=len(names))
    drawn = drawn_groups(len(names), resamples, seed)
    means = (drawn @ total) / (drawn @ count)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Measure(mean, float(low), float(high))
