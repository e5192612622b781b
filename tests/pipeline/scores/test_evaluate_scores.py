"""Numbers in parts and denominators, worked out by hand or by scikit-learn on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from unmask.pipeline.evaluation.coverage import failed_of
from unmask.pipeline.manifests.outcomes import Listed
from unmask.pipeline.records import FAKE, REAL, Outcome
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.evaluate_scores import (
    evaluate_scores,
    most_wrong,
    same_videos,
    with_unscored,
)
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.scores.results import Coverage, Options, Sizes
from unmask.pipeline.scores.table import scores_table
from unmask.pipeline.scores.video_scores import video_scores

QUICK = Options(resamples=20)


def rows(videos_each: int = 12, clips: int = 3, seed: int = 0):
    """Reals and two methods, two compressions, several clips a video."""
    rng = np.random.default_rng(seed)
    method = np.repeat(["real", "Deepfakes", "NeuralTextures"], videos_each)
    label = (method != "real").astype(int)
    compression = np.tile(["c23", "c40"], len(method) // 2)
    base = rng.normal(label * np.where(method == "Deepfakes", 2.5, 0.8), 1)
    names = [f"v{i % videos_each:03}" for i in range(len(method))]  # the same names in every method
    logit = (base[:, None] + rng.normal(0, 0.5, (len(method), clips))).ravel()
    spread = {
        "video_id": names,
        "label": label,
        "method": method,
        "compression": compression,
        "dataset": ["ffpp"] * len(method),
    }
    return scores_table(
        **{k: np.repeat(v, clips) for k, v in spread.items()},
        clip=np.tile(np.arange(clips), len(method)),
        logit=logit,
    )


def test_the_video_level_is_the_mean_of_the_clips() -> None:
    scores = rows()
    mean = scores.score.reshape(-1, 3).mean(1)
    label = scores.label.reshape(-1, 3)[:, 0]
    result = evaluate_scores(scores, QUICK)
    assert result.video.measure("auc").value == roc_auc_score(label, mean)
    assert result.video.measure("ap").value == average_precision_score(label, mean)
    assert result.levels["clip"].sizes == Sizes(108, 36, 72, 36)
    assert result.video.sizes == Sizes(36, 12, 24, 36)


def test_each_method_stands_against_all_reals() -> None:
    scores = rows()
    joined = video_scores(scores)
    by = evaluate_scores(scores, QUICK).by["method"]
    assert set(by) == {"Deepfakes", "NeuralTextures"}
    for name, block in by.items():
        member = (joined.method == name) | (joined.label == 0)
        assert (block.sizes.real, block.sizes.fake) == (12, 12)
        assert block.measure("auc").value == roc_auc_score(
            joined.label[member], joined.score[member]
        )


def test_compressions_have_their_own_reals() -> None:
    scores = rows()
    joined = video_scores(scores)
    for name, block in evaluate_scores(scores, QUICK).by["compression"].items():
        member = joined.compression == name
        assert block.sizes.n == 18
        assert block.measure("auc").value == roc_auc_score(
            joined.label[member], joined.score[member]
        )


def test_frames_are_called_frames() -> None:
    scores = scores_table(
        video_id=["a", "a", "b"], label=[0, 0, 1], frame=[3, 9, 4], score=[0.1, 0.2, 0.9]
    )
    assert set(evaluate_scores(scores, QUICK).levels) == {"frame", "video"}


def test_one_score_per_video_has_one_level() -> None:
    scores = scores_table(video_id=["a", "b"], label=[0, 1], score=[0.1, 0.9])
    assert list(evaluate_scores(scores, QUICK).levels) == ["video"]


def test_one_class_gives_null_and_never_an_exception() -> None:
    result = evaluate_scores(
        scores_table(video_id=["a", "b"], label=[0, 0], score=[0.1, 0.9]), QUICK
    )
    assert result.video.measure("auc") == Measure(None, note="no fake among the scored videos")
    assert result.video.measure("acc").value == 0.5
    assert result.by["method"] == {}


def test_unscored_videos_keep_their_label_and_score_a_half() -> None:
    joined = video_scores(scores_table(video_id=["a", "b"], label=[0, 1], score=[0.1, 0.9]))
    all_of_them = with_unscored(joined, Coverage((2, 1), (0, 3)))
    assert all_of_them.label.tolist() == [0, 1, 0, 0, 1, 1, 1, 1]
    assert all_of_them.score.tolist() == [0.1, 0.9] + [0.5] * 6
    assert len(np.unique(all_of_them.video)) == 8


def test_only_videos_of_this_split_that_are_really_lost_count_as_failed() -> None:
    listed = [
        Listed(Outcome("a", "failed", "corrupt"), FAKE, "x", "test"),
        Listed(Outcome("b", "skipped", "no_face"), REAL, "real", "test"),
        Listed(Outcome("c", "failed", "corrupt"), FAKE, "x", "train"),
        Listed(Outcome("d", "failed", "timeout"), FAKE, "x", "test"),
        Listed(Outcome("e", "ok"), FAKE, "x", "test"),
    ]
    listed.append(Listed(Outcome("f", "failed", "missing"), FAKE, "x", "test"))
    coverage = failed_of(listed, "test", frozenset({"d"}))
    assert coverage == Coverage((1, 1), (0, 0), {"corrupt": 1, "no_face": 1}, True, absent=(0, 1))
    assert "1 videos that an official list names were never on this disk" in coverage.caution
    assert coverage.unscored == (1, 1) and Coverage(known=True).caution == ""
    assert failed_of(listed, "").failed == (1, 3)
    assert not failed_of([], "test").known


def test_the_unsure_zone_is_counted() -> None:
    joined = scores_table(
        video_id=list("abcdef"), label=[0, 0, 0, 1, 1, 1], score=[0.1, 0.45, 0.6, 0.4, 0.55, 0.9]
    )
    zone = cal.Calibration(1.0, 0.5, (0.42, 0.58), "half", 0.05, 6, "val")
    unsure = evaluate_scores(joined, QUICK, calibration=zone).calibrated.unsure
    assert unsure.share == pytest.approx(2 / 6)
    assert unsure.wrong_outside == pytest.approx(2 / 4)  # 0.6 of a real, 0.4 of a fake
    assert unsure.wrong_everywhere == pytest.approx(2 / 6)


def test_the_most_wrong_of_each_class_come_first() -> None:
    joined = scores_table(
        video_id=list("abcdef"), label=[0, 0, 0, 1, 1, 1], score=[0.1, 0.9, 0.2, 0.3, 0.05, 0.9]
    )
    assert joined.video_id[most_wrong(joined, 1)].tolist() == ["e", "b"]
    assert len(most_wrong(joined, 9)) == 6


def test_same_videos_are_found_by_all_that_names_a_video() -> None:
    first = scores_table(
        video_id=["a", "a", "b"], method=["X", "Y", "X"], label=[1, 1, 1], score=[0.1, 0.2, 0.3]
    )
    second = scores_table(
        video_id=["b", "a", "c"], method=["X", "Y", "X"], label=[1, 1, 1], score=[0.1, 0.2, 0.3]
    )
    a, b = same_videos(first, second)
    assert (a.tolist(), b.tolist()) == ([1, 2], [1, 0])
    with pytest.raises(ValueError, match="label"):
        same_videos(first, scores_table(video_id=["b"], method=["X"], label=[0], score=[0.1]))


def test_a_calibration_that_makes_the_log_loss_worse_is_said() -> None:
    rng = np.random.default_rng(8)
    label = rng.integers(0, 2, 200)
    score = np.clip(np.where(label == 1, 0.8, 0.2) + rng.normal(0, 0.2, 200), 0.01, 0.99)
    joined = scores_table(video_id=[str(number) for number in range(200)], label=label, score=score)
    worse = evaluate_scores(joined, QUICK, calibration=cal.Calibration(temperature=0.1))
    assert "log-loss worse here" in worse.calibration_warning
    same = evaluate_scores(joined, QUICK, calibration=cal.Calibration())
    assert same.calibration_warning == ""
