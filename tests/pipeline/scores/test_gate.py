"""The gate: what it counts, what it refuses, and that its numbers are those of plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from unmask.pipeline.scores.gate import answer, at_others_threshold, pair_auc


def clips(people: int = 12, fakes: int = 2) -> tuple[NDArray, list[str], list[str]]:
    """One real clip and some swaps of each person, in one file."""
    label = np.array([int(n > 0) for _ in range(people) for n in range(1 + fakes)])
    group = [f"p{who}" for who in range(people) for _ in range(1 + fakes)]
    return label, [f"file of {who}" for who in group], group


def test_pairs_are_compared_within_their_file_only() -> None:
    label, pair, group = clips()
    person = np.array([float(name[1:]) for name in group])
    # each person has a level of its own, and the swap is a little above the original
    score = 10 * person + label
    found = pair_auc(label, score, pair, group)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert pair_auc(label, 10 * person, pair, group).value == 0.5  # ties are worth half


def test_the_share_of_pairs_is_that_of_a_double_loop() -> None:
    label, pair, group = clips(people=7, fakes=3)
    score = np.random.default_rng(0).normal(size=len(label)).round(1)
    won = [
        float(score[f] > score[r]) + 0.5 * float(score[f] == score[r])
        for f in range(len(label))
        for r in range(len(label))
        if label[f] == 1 and label[r] == 0 and pair[f] == pair[r]
    ]
    found = pair_auc(label, score, pair, group)
    assert found.value == pytest.approx(np.mean(won)) and found.low < found.value < found.high


def test_clips_without_a_partner_do_not_count() -> None:
    label, pair, group = np.array([0, 1, 1, 0]), ["a", "a", "", "b"], ["p", "p", "q", "r"]
    assert pair_auc(label, np.array([0.0, 1.0, -9.0, 9.0]), pair, group).value == 1
    assert pair_auc(label, np.zeros(4), ["", "", "", ""], group) is None


def test_a_threshold_is_set_on_others_and_never_on_oneself() -> None:
    label, _, group = clips(people=20, fakes=1)
    score = np.where(label == 1, 5.0, np.arange(len(label)) / 100)
    alarms, caught = at_others_threshold(label, score, group)
    above = []
    for n, name in enumerate(group):
        others = sorted(
            value
            for value, fake, who in zip(score, label, group, strict=True)
            if not fake and who != name
        )
        above.append(score[n] > others[18 - 1])  # of 19, the 18th from below: ceil(0.9 * 20)
    assert alarms == np.mean(np.array(above)[label == 0]) and caught == 1
    assert alarms == 0.1


def passing() -> tuple[NDArray, NDArray, list[str], list[str]]:
    label, pair, group = clips(people=20)
    return label, label + np.random.default_rng(1).normal(0, 0.1, len(label)), pair, group


def test_a_good_detector_passes() -> None:
    found = answer(*passing())
    assert found.passed and found.people == 20
    assert found.pairs.low > 0.9 and found.alarms <= 0.1 and found.caught > 0.9


def test_each_requirement_alone_keeps_it_out() -> None:
    label, score, pair, group = passing()
    rng = np.random.default_rng(2)
    few = np.array([int(name[1:]) < 9 for name in group])
    kept = [p for p, k in zip(pair, few, strict=True) if k]
    who = [g for g, k in zip(group, few, strict=True) if k]
    reason = answer(label[few], score[few], kept, who).reasons[0]
    assert reason == "pairs of 9 persons, 10 are needed"
    chance = answer(label, rng.normal(size=len(label)), pair, group)
    assert "the lower bound must exceed 0.64" in chance.reasons[0]
    # right within every file, useless without its original: persons differ more than swaps
    person = np.array([float(name[1:]) for name in group])
    (reason,) = answer(label, 10 * person + label, pair, group).reasons
    assert reason.startswith("catches ") and reason.endswith("of swaps, at least 40%")
    assert answer(label, score, [""] * len(label), group).reasons == (
        "no swap lies beside its original in the same file",
    )


def test_alarms_on_real_clips_keep_it_out() -> None:
    """One person's ten real clips lie above everybody else's, who set the threshold."""
    label, pair, group = clips(people=30, fakes=10)
    mine = np.array(group) == "p0"
    label[np.flatnonzero(mine)[:10]] = 0
    score = np.where(label == 1, 99.0, np.where(mine, 50.0, 0.0))
    found = answer(label, score, pair, group)
    assert found.alarms == 10 / 39 and found.caught == 1
    assert found.reasons == ("alarms on 26% of real clips, at most 10%",)


def test_the_bar_is_the_one_that_was_fixed_beforehand() -> None:
    from unmask.pipeline.scores import gate

    assert (gate.FACE_BLUR, gate.MOST_ALARMS, gate.FEWEST_CAUGHT) == (0.64, 0.10, 0.40)
