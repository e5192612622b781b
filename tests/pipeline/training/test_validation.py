"""Validation measures what evaluation measures, however many processes share the work."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from tests.support.tiny_cache import make_cache
from tests.support.tiny_run import make_run
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.evaluation.inference import Scoring
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.scores.video_scores import video_scores
from unmask.pipeline.training.validation import sample_scores, video_metrics


@dataclass(frozen=True)
class OneOf:
    """One of several processes of a run, without the others."""

    global_rank: int
    world_size: int

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def autocast(self) -> AbstractContextManager:
        return nullcontext()


@pytest.mark.parametrize("per_video", [1, 3, 0])
def test_shares_of_three_processes_add_up_to_the_video_scores_of_evaluation(
    tmp_path: Path, per_video: int
) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 1, "val": 4})
    model, _ = load_model(open_run(make_run(tmp_path / "run", cache, manifests / "train.txt")))
    source = ClipSource(manifests / "val.txt", cache, replace(model.spec, masks=False))
    shares = [
        sample_scores(
            model,
            source,
            OneOf(rank, 3),
            batch=2,
            per_video=per_video,
            threads=1,
            stopped=lambda: False,
        )
        for rank in range(3)
    ]
    together = torch.stack(shares)
    assert ((together != 0).sum(0) == 1).all(), "every sample is scored by exactly one process"
    evaluated = Scoring(model, "cpu").score(source, per_video=per_video).scores
    assert together.sum(0).numpy() == pytest.approx(evaluated.score, abs=1e-6)
    videos = video_scores(evaluated)
    auc, loss = video_metrics(source, together.sum(0), per_video)
    assert auc == pytest.approx(roc_auc_score(videos.label, videos.score))
    assert loss == pytest.approx(log_loss(videos.label, videos.score), abs=1e-6)


def test_a_score_that_is_no_number_is_no_best_epoch(tmp_path: Path) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 1, "val": 2})
    model, _ = load_model(open_run(make_run(tmp_path / "run", cache, manifests / "train.txt")))
    source = ClipSource(manifests / "val.txt", cache, replace(model.spec, masks=False))
    scores = torch.full((len(source.evaluation_samples(1)),), 0.5, dtype=torch.float64)
    scores[1] = np.nan
    assert video_metrics(source, scores, 1) == (None, None)
