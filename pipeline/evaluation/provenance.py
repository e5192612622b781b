"""Where an evaluation's numbers come from: model, weights, training and data, in words for a
report.
"""

from __future__ import annotations

import platform
from dataclasses import asdict

import numpy as np
import torch

from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.evaluation.inference import Loaded
from unmask.pipeline.reports.html import own_version
from unmask.pipeline.runs.provenance import plain, run_facts
from unmask.pipeline.scores.evaluation_folder import Plain


def provenance_of(
    config: EvaluateConfig, loaded: Loaded, source: ClipSource, sha256: str
) -> dict[str, dict[str, Plain]]:
    """Title -> name -> value of what the numbers come from: run, data, pixels and versions."""
    settings = source.readers[0].attributes.get("settings")
    crops = settings if isinstance(settings, dict) else {}
    facts = run_facts(loaded.run, loaded.point, crops)
    facts["Model"]["parameters"] = sum(p.numel() for p in loaded.model.parameters())
    return {
        **facts,
        "Evaluated": {
            "manifest": str(source.path),
            "manifest sha256": source.sha256,
            "cache key": source.key,
            "scores sha256": sha256,
            **{
                k: plain(v)
                for k, v in asdict(config).items()
                if k not in ("manifests", "run", "cache", "out")
            },
        },
        "Versions here": {
            "unmask": own_version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "device": torch.cuda.get_device_name()
            if loaded.device == "cuda"
            else platform.machine(),
        },
    }
