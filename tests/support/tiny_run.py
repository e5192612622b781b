"""A run folder with an untrained network of real format, so that evaluation can be tested without
training first.
"""

from __future__ import annotations

from pathlib import Path

import torch

from unmask.models import create_model
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.run_folder import write_run

OPTIONS = {"width": 8, "frames": 3, "size": 32}


def make_run(folder: Path, cache: Path, training: Path, seed: int = 0) -> Path:
    """CLRNet of the smallest width as if trained on `training`; batch statistics are set so that
    scores spread.
    """
    torch.manual_seed(seed)
    network = create_model("clrnet", **OPTIONS)
    with torch.no_grad():
        network.head.fc.weight.normal_(0, 2)
    manifest = read_manifest(training, cache)
    config = TrainConfig(
        manifest=str(training), cache=str(cache), model="clrnet", options=OPTIONS, seed=seed
    )
    folder.mkdir(parents=True)
    write_run(
        folder,
        config,
        {"manifest": {"path": str(training), "sha256": manifest.sha256, "key": manifest.key}},
    )
    identity = {
        "model": "clrnet",
        "options": OPTIONS,
        "key": manifest.key,
        "manifest": manifest.sha256,
    }
    state = {"identity": identity, "progress": {"step": 7, "epoch": 1}}
    checkpoint.save(folder, "best-00000007", state, {"model": network.state_dict()})
    return folder
