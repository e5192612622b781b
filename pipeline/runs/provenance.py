"""What a run says about itself when it answers: its model, training data and weights."""

from __future__ import annotations

import json
from collections.abc import Mapping

from unmask.pipeline.runs.checkpoint import SUMS, Checkpoint
from unmask.pipeline.runs.knowledge import Knowledge, knowledge_from
from unmask.pipeline.runs.newest import RUN_FILE
from unmask.pipeline.runs.run_folder import Run


def known_of(run: Run) -> Knowledge:
    """What the run knows of its training; unknown for older runs and damaged records."""
    return knowledge_from(run.document.get("knowledge"), str(run.folder / RUN_FILE))


def run_facts(
    run: Run, point: Checkpoint, crops: Mapping[str, object]
) -> dict[str, dict[str, str | int | float | None]]:
    """How a run was made, for reports and sidecars: settings, hashes, versions.

    crops: settings of the crops it was trained on, or answers on.
    """
    progress = point.state.get("progress")
    versions = run.document.get("versions")
    manifest = run.document.get("manifest")
    trained = manifest if isinstance(manifest, dict) else {}
    knowledge = known_of(run)
    return {
        "Model": {
            "run": str(run.folder),
            "model": run.model,
            "options": json.dumps(run.options, sort_keys=True),
            "checkpoint": point.folder.name,
            "weights sha256": weights_sha256(point),
        },
        "Training": {
            "manifest": run.config.manifest,
            "manifest sha256": run.manifest_sha256,
            "videos": f"{trained.get('real', '?')} real, {trained.get('fake', '?')} fake",
            **knowledge.footage,
            "datasets": ", ".join(knowledge.datasets) or "not known",
            "compressions": ", ".join(knowledge.compressions) or "not known",
            "methods": ", ".join(knowledge.methods) or "not known",
            "people": "not known" if knowledge.people is None else knowledge.people,
            "recipe": run.config.recipe,
            "seed": run.config.seed,
            "steps": progress.get("step") if isinstance(progress, dict) else None,
            "cache key": run.key,
        },
        "Crops": {name: plain(value) for name, value in crops.items()},
        "Versions in training": {str(k): str(v) for k, v in versions.items()}
        if isinstance(versions, dict)
        else {},
    }


def plain(value: object) -> str | int | float | None:
    """The value as a report's cell: what is no single value is spelled as JSON."""
    single = isinstance(value, str | int | float) or value is None
    return value if single else json.dumps(value, sort_keys=True)


def weights_sha256(point: Checkpoint) -> str | None:
    """sha256 of the weights that answer: the averaged ones where the checkpoint has them."""
    sums = (point.folder / SUMS).read_text(encoding="ascii").split()
    digests = dict(zip(sums[1::2], sums[::2], strict=True))
    return digests.get("ema.safetensors") or digests.get("model.safetensors")
