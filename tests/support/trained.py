"""The drawn dataset extracted for real, with untrained runs of real format on it, for tests of
predict.
"""

from __future__ import annotations

from pathlib import Path

import torch

from unmask.models import create_model
from unmask.pipeline.config import CropConfig, ExtractConfig, TrainConfig
from unmask.pipeline.extraction import publish, run
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.run_folder import write_run
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

SMALL = CropConfig(clips=4, frames=3, size=64)
CLRNET = {"width": 8, "frames": 3, "size": 64}
XCEPTION = {
    "backbone": "efficientnet_b0",
    "filters": 32,
    "frames": 6,
    "size": 64,
    "fit": "crop",
    "rnn": "lstm",
}


def extract_drawn(drawn: Path, root: Path, crop: CropConfig = SMALL) -> Path:
    """Extract the drawn videos of one method into root; returns the folder of its manifests."""
    found = discover("ffpp", drawn, SourceOptions(compression="c23", methods=("Deepfakes",)))
    config = ExtractConfig(crop=crop, jobs=1)
    ended = run.extract(found.videos, config, root / "cache", lambda outcome: None)
    written = publish.publish(found, ended, config, root / "cache", root / "manifests")
    return next(iter(written)).parent


def make_run(
    folder: Path,
    manifest: Path,
    cache: Path,
    settings: object,
    model: str,
    options: dict,
    seed: int = 0,
):
    """A run whose random network gives scores that spread around a half."""
    torch.manual_seed(seed)
    network = create_model(model, **options)
    with torch.no_grad():
        norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = (
                None  # statistics of the one batch below: fresh ones let hardly any signal through
            )
        spec = network.spec
        network.train()(torch.rand(8, spec.frames, 3, spec.size, spec.size))
        for norm in norms:
            norm.running_var.clamp_(min=0.1)  # or rounding errors would be multiplied by thousands
        last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
        logits = network.eval()(torch.rand(8, spec.frames, 3, spec.size, spec.size))
        last.weight.mul_(1 / (logits[:, 1] - logits[:, 0]).std())
        logits = network(torch.rand(8, spec.frames, 3, spec.size, spec.size))
        last.bias[1] -= (logits[:, 1] - logits[:, 0]).mean()
    read = read_manifest(manifest, cache)
    config = TrainConfig(
        manifest=str(manifest), cache=str(cache), model=model, options=options, seed=seed
    )
    folder.mkdir(parents=True)
    facts = {"path": str(manifest), "sha256": read.sha256, "key": read.key, "settings": settings}
    write_run(folder, config, {"manifest": facts})
    state = {
        "identity": {"model": model, "options": options, "key": read.key},
        "progress": {"step": 7, "epoch": 1},
    }
    checkpoint.save(folder, "best-00000007", state, {"model": network.state_dict()})
    return folder
