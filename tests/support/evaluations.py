"""An evaluation folder of a run, with the video AUC that a test wants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.evaluation_folder import Evaluation, write_metrics
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.scores.results import Options
from unmask.pipeline.scores.table import scores_table


def write_evaluation(folder: Path, auc: Measure) -> Path:
    """metrics.json of four videos; every number but the video AUC is measured."""
    rows = scores_table(video_id=list("abcd"), label=[0, 0, 1, 1], score=[0.1, 0.6, 0.4, 0.9])
    result = evaluate_scores(rows, Options(resamples=0))
    video = replace(result.video, metrics={**result.video.metrics, "auc": auc})
    folder.mkdir(parents=True)
    told = replace(result, levels={**result.levels, "video": video})
    write_metrics(folder, Evaluation(folder.name, folder, told))
    return folder / "metrics.json"
