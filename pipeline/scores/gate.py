"""What a detector must show before `predict` may take it without being told: fixed beforehand, and
no detector has shown it yet.

On clips whose swaps lie beside their originals in the same file, so that nothing about a file can
give them away; and at a threshold that other people's clips set, as a user would set it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.scores.bootstrap import LEVEL

# What the blur of a face alone reached on such pairs, in a study on openly licensed faces.
FACE_BLUR = 0.64
MOST_ALARMS, FEWEST_CAUGHT = 0.10, 0.40
# With fewer persons an interval over persons says nothing (ours).
FEWEST_PEOPLE = 10
RESAMPLES = 2000

# The study: 682 stills, seven CPU minutes, self-blended training.
STUDY = (
    "trained on openly licensed real faces alone, a study's detector told real face swaps from "
    "their originals with AUC 0.54 [0.46, 0.61], where face blur alone gives 0.64"
)


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval over persons; None where fewer than two make it."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"


@dataclass(frozen=True)
class Answer:
    """pairs: AUC within same-file pairs, None without pairs.

    people: persons in those pairs.
    alarms, caught: shares of real clips and swaps above a threshold set on the other persons.
    reasons: why not, one sentence each; none when the gate is passed.
    """

    pairs: Share | None
    people: int
    alarms: float | None = None
    caught: float | None = None
    reasons: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return not self.reasons


def pair_auc(
    label: NDArray, score: NDArray, pair: Sequence[str], group: Sequence[str], seed: int = 0
) -> Share | None:
    """How often a fake scores above the real clip of its pair, ties half; interval by resampling
    persons.

    label, score: (R,). pair: (R,) clips of one file, "" for none. group: (R,) the person.
    None when no pair has both labels.
    """
    pairs, groups = np.asarray(pair), np.asarray(group)
    names = sorted(set(groups[pairs != ""].tolist()))
    won, made = np.zeros(len(names)), np.zeros(len(names))
    for name in sorted(set(pairs.tolist()) - {""}):
        inside = pairs == name
        fakes, reals = score[inside & (label == 1)], score[inside & (label == 0)]
        if not len(fakes) or not len(reals):
            continue
        whose = names.index(groups[inside][0])
        margin = fakes[:, None] - reals[None, :]
        won[whose] += (margin > 0).sum() + 0.5 * (margin == 0).sum()
        made[whose] += margin.size
    won, made = won[made > 0], made[made > 0]
    if not len(made):
        return None
    return _share(won, made, seed)


def _share(won: NDArray, made: NDArray, seed: int) -> Share:
    """sum(won) / sum(made), with an interval by drawing persons with replacement."""
    value = float(won.sum() / made.sum())
    if len(made) < 2:
        return Share(value, None, None)
    drawn = np.random.default_rng(seed).integers(0, len(made), (RESAMPLES, len(made)))
    shares = won[drawn].sum(1) / made[drawn].sum(1)
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Share(value, float(low), float(high))


def at_others_threshold(
    label: NDArray, score: NDArray, group: Sequence[str]
) -> tuple[float, float] | None:
    """(share of real clips, share of fakes) above the threshold that the other persons' real clips
    set.

    Of m such clips it is the score number ceil(0.9 (m + 1)) from below: a new real clip lies above
    it one time in ten at most (Vovk et al. 2005, split conformal prediction). Of fewer than nine it
    is the highest, which promises less; the gate asks for more.
    None with fewer than two persons that have real clips, or without fakes.
    """
    groups = np.asarray(group)
    above = np.zeros(len(label), bool)
    judged = np.zeros(len(label), bool)
    for name in set(groups.tolist()):
        others = np.sort(score[(groups != name) & (label == 0)])
        if not len(others):
            continue
        place = math.ceil(round((len(others) + 1) * (1 - MOST_ALARMS), 9))
        threshold = others[min(place, len(others)) - 1]
        mine = groups == name
        judged |= mine
        above |= mine & (score > threshold)
    real, fake = judged & (label == 0), judged & (label == 1)
    if len(set(groups[label == 0].tolist())) < 2 or not fake.any():
        return None
    return float(above[real].mean()), float(above[fake].mean())


def answer(
    label: NDArray, score: NDArray, pair: Sequence[str], group: Sequence[str], seed: int = 0
) -> Answer:
    """Whether a detector passes, from its scores of clips that count: real swaps and originals.

    score: (R,) the higher, the more fake; any scale.
    """
    found = pair_auc(label, score, pair, group, seed)
    people = len({who for who, which in zip(group, pair, strict=True) if which})
    if found is None:
        return Answer(None, people, reasons=("no swap lies beside its original in the same file",))
    reasons = []
    if people < FEWEST_PEOPLE:
        reasons.append(f"pairs of {people} persons, {FEWEST_PEOPLE} are needed")
    if found.low is None or not found.low > FACE_BLUR:
        reasons.append(f"same-file pairs {found}, the lower bound must exceed {FACE_BLUR:.2f}")
    shares = at_others_threshold(label, score, group)
    if shares is None:
        return Answer(found, people, reasons=(*reasons, "no threshold can be set on other persons"))
    alarms, caught = shares
    if alarms > MOST_ALARMS:
        reasons.append(f"alarms on {alarms:.0%} of real clips, at most {MOST_ALARMS:.0%}")
    if caught < FEWEST_CAUGHT:
        reasons.append(f"catches {caught:.0%} of swaps, at least {FEWEST_CAUGHT:.0%}")
    return Answer(found, people, alarms, caught, tuple(reasons))
