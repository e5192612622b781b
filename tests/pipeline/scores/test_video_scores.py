"""Clips make a person's score and persons a video's, by the rule that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.pipeline.config import PERSON_RULES, VIDEO_RULES
from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores import table as sc
from unmask.pipeline.scores import video_scores


def test_same_name_in_two_methods_is_two_videos() -> None:
    rows = sc.scores_table(
        video_id=["000_003"] * 3,
        label=[1, 1, 1],
        method=["Deepfakes", "FaceSwap", "Deepfakes"],
        score=[0, 1, 0.5],
    )
    assert video_scores.video_scores(rows).score.tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    ("rule", "value"),
    [("mean", 0.4), ("max", 0.9), ("median", 0.2), ("mean-logit", 0.0)],
)
def test_the_video_score_by_hand(rule: str, value: float) -> None:
    rows = sc.scores_table(
        video_id=["a", "b", "a", "a"], label=[1, 0, 1, 1], score=[0.1, 0.7, 0.2, 0.9]
    )
    joined = video_scores.video_scores(rows, rule)
    expected = (
        1 / (1 + np.exp(1.3862944 / 3)) if rule == "mean-logit" else value
    )  # logits +-2.197 cancel
    assert joined.video_id.tolist() == ["a", "b"]
    assert joined.score[0] == pytest.approx(expected, abs=1e-6)
    assert joined.score[1] == pytest.approx(0.7)
    assert joined.level == "video"


def test_one_fake_person_makes_the_video_fake() -> None:
    rows = sc.scores_table(
        video_id=["a"] * 4,
        label=[1] * 4,
        track=[0, 0, 1, 1],
        clip=[0, 1, 0, 1],
        score=[0.1, 0.3, 0.8, 1.0],
    )
    assert video_scores.video_scores(rows).score == pytest.approx([0.9])
    assert video_scores.video_scores(rows, tracks="mean").score == pytest.approx([0.55])


def test_every_rule_that_can_be_asked_for_is_computed() -> None:
    assert tuple(video_scores.RULES) == VIDEO_RULES
    assert set(PERSON_RULES) <= set(video_scores.RULES)


@pytest.mark.parametrize(("rule", "tracks"), [("avg", "max"), ("mean", "mean-logit")])
def test_an_unknown_rule_is_one_line_that_names_the_known_ones(rule: str, tracks: str) -> None:
    rows = sc.scores_table(video_id=["a"], label=[0], score=[0.1])
    with pytest.raises(UsageError, match=r"no such rule: .*known are .*median"):
        video_scores.video_scores(rows, rule, tracks)
