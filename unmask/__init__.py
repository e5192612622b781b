"""Deepfake-video detection that one can defend, as a library.

    import unmask

    unmask.open_video(folder)       one cached video: crops, boxes, landmarks, times, label
    unmask.read_scores(path)        a scores file, as columns or as a pandas DataFrame
    help(unmask.train)              every name below says shapes, units and what it raises

Names are imported when they are first used: `import unmask` alone loads neither torch nor numpy.
Axes: N clips, T frames of a clip, S side of a crop in px, R rows of a table, B clips of a batch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; _HOMES is the same list for Python
    from unmask.models import create_model as create_model
    from unmask.models import list_models as list_models
    from unmask.models.spec import ClipSpec as ClipSpec
    from unmask.pipeline.cache.video import CachedVideo as CachedVideo
    from unmask.pipeline.cache.video import open_video as open_video
    from unmask.pipeline.cache.video import verify_video as verify_video
    from unmask.pipeline.clips.prepare import prepare as prepare
    from unmask.pipeline.clips.source import ClipSource as ClipSource
    from unmask.pipeline.config import CropConfig as CropConfig
    from unmask.pipeline.config import EvaluateConfig as EvaluateConfig
    from unmask.pipeline.config import ExtractConfig as ExtractConfig
    from unmask.pipeline.config import PredictConfig as PredictConfig
    from unmask.pipeline.config import TrainConfig as TrainConfig
    from unmask.pipeline.errors import PipelineError as PipelineError
    from unmask.pipeline.evaluation.comparison import compare as compare
    from unmask.pipeline.evaluation.evaluate import evaluate as evaluate
    from unmask.pipeline.extraction.publish import publish as publish
    from unmask.pipeline.extraction.run import extract as extract
    from unmask.pipeline.manifests.checked import read_manifest as read_manifest
    from unmask.pipeline.manifests.selections import leaks as leaks
    from unmask.pipeline.manifests.text import write_manifest as write_manifest
    from unmask.pipeline.prediction.predict import open_scorers as open_scorers
    from unmask.pipeline.prediction.predict import predict as predict
    from unmask.pipeline.records import Entry as Entry
    from unmask.pipeline.runs.run_folder import load_model as load_model
    from unmask.pipeline.runs.run_folder import open_run as open_run
    from unmask.pipeline.scores.csv_file import read_scores as read_scores
    from unmask.pipeline.scores.csv_file import write_scores as write_scores
    from unmask.pipeline.scores.evaluate_scores import evaluate_scores as evaluate_scores
    from unmask.pipeline.scores.metrics import measure as measure
    from unmask.pipeline.scores.table import Scores as Scores
    from unmask.pipeline.scores.table import scores_table as scores_table
    from unmask.pipeline.scores.video_scores import video_scores as video_scores
    from unmask.pipeline.sources.dataset import SourceOptions as SourceOptions
    from unmask.pipeline.sources.registry import discover as discover
    from unmask.pipeline.training.train import train as train

# name -> the module it lives in, in the order the data travels
_HOMES = {
    "discover": "unmask.pipeline.sources.registry",
    "SourceOptions": "unmask.pipeline.sources.dataset",
    "extract": "unmask.pipeline.extraction.run",
    "publish": "unmask.pipeline.extraction.publish",
    "CropConfig": "unmask.pipeline.config",
    "ExtractConfig": "unmask.pipeline.config",
    "open_video": "unmask.pipeline.cache.video",
    "verify_video": "unmask.pipeline.cache.video",
    "CachedVideo": "unmask.pipeline.cache.video",
    "read_manifest": "unmask.pipeline.manifests.checked",
    "write_manifest": "unmask.pipeline.manifests.text",
    "leaks": "unmask.pipeline.manifests.selections",
    "Entry": "unmask.pipeline.records",
    "ClipSource": "unmask.pipeline.clips.source",
    "prepare": "unmask.pipeline.clips.prepare",
    "ClipSpec": "unmask.models.spec",
    "create_model": "unmask.models",
    "list_models": "unmask.models",
    "train": "unmask.pipeline.training.train",
    "TrainConfig": "unmask.pipeline.config",
    "open_run": "unmask.pipeline.runs.run_folder",
    "load_model": "unmask.pipeline.runs.run_folder",
    "evaluate": "unmask.pipeline.evaluation.evaluate",
    "EvaluateConfig": "unmask.pipeline.config",
    "compare": "unmask.pipeline.evaluation.comparison",
    "read_scores": "unmask.pipeline.scores.csv_file",
    "write_scores": "unmask.pipeline.scores.csv_file",
    "scores_table": "unmask.pipeline.scores.table",
    "Scores": "unmask.pipeline.scores.table",
    "video_scores": "unmask.pipeline.scores.video_scores",
    "measure": "unmask.pipeline.scores.metrics",
    "evaluate_scores": "unmask.pipeline.scores.evaluate_scores",
    "open_scorers": "unmask.pipeline.prediction.predict",
    "predict": "unmask.pipeline.prediction.predict",
    "PredictConfig": "unmask.pipeline.config",
    "PipelineError": "unmask.pipeline.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """One of the names above, imported now; asked for again it is an ordinary attribute."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("unmask")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
