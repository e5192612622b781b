"""Where an evaluation's numbers come from: model, weights, training and data, in words for a
report.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict

import numpy as np
import torch

from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.evaluation.inference import Loaded
from unmask.pipeline.reports.html import own_version
from unmask.pipeline.runs.provenance import known_of, weights_sha256
from unmask.pipeline.scores.evaluation_folder import Plain


def provenance_of(
    config: EvaluateConfig, loaded: Loaded, source: ClipSource, sha256: str
) -> dict[str, dict[str, Plain]]:
    """Title -> name -> value of what the numbers come from: run, data, pixels and versions."""
    run, point = loaded.run, loaded.point
    settings = source.readers[0].attributes.get("settings")
    state = point.state
    return {
        "Run": {
            "run": str(run.folder),
            "model": run.model,
            "options": json.dumps(run.options, sort_keys=True),
            "recipe": run.config.recipe,
            **known_of(run).footage,
            "seed": run.config.seed,
            "trained on": run.config.manifest,
            "training manifest sha256": run.manifest_sha256,
            "checkpoint": point.folder.name,
            "step": state.get("progress", {}).get("step"),
            "weights sha256": weights_sha256(point),
            "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        },
        "Evaluated": {
            "manifest": str(source.path),
            "manifest sha256": source.sha256,
            "cache key": source.key,
            "scores sha256": sha256,
            **{
                k: _cell(v)
                for k, v in asdict(config).items()
                if k not in ("manifests", "run", "cache", "out")
            },
        },
        "Pixels": {k: _cell(v) for k, v in settings.items()} if isinstance(settings, dict) else {},
        "Versions": {
            "unmask": own_version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "device": torch.cuda.get_device_name()
            if loaded.device == "cuda"
            else platform.machine(),
        },
    }


def _cell(value: object) -> Plain:
    return (
        value
        if isinstance(value, str | int | float) or value is None
        else json.dumps(value, sort_keys=True)
    )
