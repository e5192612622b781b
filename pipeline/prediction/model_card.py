"""What a prediction's page says of the model: how it was trained, how often it errs."""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.errors import PipelineError
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.reports.plots import Picture, roc_plot
from unmask.pipeline.reports.tables import Cell, Table, number
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.scores.evaluation_folder import SCORES, Evaluation, read_evaluation
from unmask.pipeline.scores.metrics import METRICS
from unmask.pipeline.scores.video_scores import video_scores


def model_rows(scorer: Scorer) -> dict[str, object]:
    """What the page says of one member: calibration, and its evaluations with their weak spots."""
    c = scorer.calibration
    facts: list[tuple[str, Cell]] = [
        ("threshold", c.threshold),
        ("unsure zone", f"{number(c.unsure[0])} to {number(c.unsure[1])}"),
        ("temperature", c.temperature),
        ("fitted on", c.basis),
        *([("promise", c.promise)] if c.promise else []),
    ]
    found = _evaluations(scorer.evaluations)
    return {"name": scorer.name, "facts": facts, "evaluations": found}


def _evaluations(root: Path | None) -> list[dict[str, object]]:
    """Test sets first; validation scores that only chose a threshold are no evaluation."""
    if root is None or not root.is_dir():
        return []
    folders = [
        f
        for f in root.iterdir()
        if (f / "metrics.json").is_file() and not f.name.endswith("-threshold")
    ]
    folders.sort(key=lambda folder: (not folder.name.endswith("-test"), folder.name))
    return [_evaluation(folder) for folder in folders[:3]]


def _evaluation(folder: Path) -> dict[str, object]:
    try:
        evaluation = read_evaluation(folder)
        video, options = evaluation.result.video, evaluation.result.options
        rows, _ = read_scores(folder / SCORES)
        joined = video_scores(rows, options.rule, options.tracks)
        auc = video.measure("auc")
        keys = ("auc", "eer", "balanced_acc", "tpr_at_fpr_10")
        table = [(METRICS[key].name, video.measure(key)) for key in keys]
        picture: Picture | None = None
        if auc.value is not None:
            picture = roc_plot(joined.label, joined.score, auc.value, (auc.low, auc.high))
        return {
            "name": folder.name,
            "line": f"{video.sizes.real} real and {video.sizes.fake} fake videos",
            "table": Table(folder.name, ("metric", "value"), tuple(table)),
            "picture": picture,
            "weak": _weak_spots(evaluation),
            "problem": "",
        }
    except (OSError, ValueError, PipelineError) as error:
        return {"name": folder.name, "problem": f"cannot be read ({type(error).__name__})"}


def _weak_spots(evaluation: Evaluation) -> list[str]:
    lines = []
    auc = evaluation.result.video.measure("auc")
    if auc.value is None:
        lines.append("Only one class was evaluated: nobody knows how well it tells real from fake.")
    elif auc.low is not None and auc.low <= 0.5:
        lines.append("Its interval includes 0.5: on these videos it may be no better than a coin.")
    blocks = evaluation.result.by.get("method", {})
    methods = {name: block.measure("auc") for name, block in blocks.items()}
    known = {name: value for name, value in methods.items() if value.value is not None}
    if known:
        name = min(known, key=lambda key: known[key].value)
        low, high = known[name].low, known[name].high
        interval = f" ({number(low)} to {number(high)})" if low is not None else ""
        lines.append(f"Weakest on {name}: AUC {number(known[name].value)}{interval}.")
    worst = [
        (min(v for v in row[2:] if v is not None), row[0])
        for row in evaluation.robustness or ()
        if any(v is not None for v in row[2:])
    ]
    if worst:
        value, name = min(worst)
        lines.append(f"Most easily disturbed by: {name}, AUC {number(value)} at its worst level.")
    return [*lines, *evaluation.cautions]
