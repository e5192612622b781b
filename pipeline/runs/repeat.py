"""Going on with a run, or repeating it: which of its settings may differ, and which manifests it
needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.runs.newest import RUN_FILE
from unmask.pipeline.runs.run_folder import config_at, open_run, read_document

# What may differ from the first part of a run without changing what it learns: the machine, how
# often it saves, how long it goes on ...
FREE = frozenset({"epochs", "device", "devices", "threads", "tensorboard", "checkpoint_steps"})
# ... and where the same manifests and crops lie now; other ones are refused by sha256 and key.
PLACES = frozenset({"manifest", "val", "cache", "store"})


@dataclass(frozen=True)
class Repetition:
    """What `train` needs to walk a run's way again.

    config: the run's, with what may differ changed.
    expected: sha256 of its manifests by `manifest` and `val`, for train(expected=...).
    """

    config: TrainConfig
    expected: dict[str, str]


def go_on(run: Path, changes: Mapping[str, Any] | None = None) -> Repetition:
    """A run to be resumed: train(again.config, run=run, resume=True, expected=again.expected).

    changes: values of FREE and PLACES by name; epochs in place of the recipe's.
    Raises: CheckpointError without a readable run.json, UsageError for a value that may not change.
    """
    _refuse_others(changes or {}, f"--resume goes on with the settings of {run}")
    opened = open_run(run)
    return Repetition(_changed(opened.config, changes or {}), _hashes(opened.document))


def repeat(path: Path, changes: Mapping[str, Any] | None = None) -> Repetition:
    """Another run from its beginning, every value of its recipe pinned: presets change, a
    repetition must not.

    path: a run folder or a run.json.
    changes: as in `go_on`.
    Raises: CheckpointError, UsageError as `go_on`.
    """
    _refuse_others(changes or {}, "--from-run repeats a run as it was")
    path = path / RUN_FILE if path.is_dir() else path
    document = read_document(path)
    config = config_at(document, path)
    if isinstance(recipe := document.get("recipe"), dict):
        config = replace(config, overrides=dict(recipe))
    return Repetition(_changed(config, changes or {}), _hashes(document))


def _refuse_others(changes: Mapping[str, Any], why: str) -> None:
    refused = sorted(set(changes) - FREE - PLACES)
    if refused:
        raise UsageError(f"{why}; leave out --{refused[0].replace('_', '-')}")


def _changed(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    known = {field.name for field in fields(TrainConfig)}
    values = {name: value for name, value in changes.items() if name in known}
    values |= {name: str(values[name]) for name in PLACES & values.keys()}
    if "epochs" in changes:
        values["overrides"] = {**config.overrides, "epochs": changes["epochs"]}
    return replace(config, **values)


def _hashes(document: dict[str, Any]) -> dict[str, str]:
    parts = {name: document.get(name) for name in ("manifest", "val")}
    return {
        name: part["sha256"]
        for name, part in parts.items()
        if isinstance(part, dict) and isinstance(part.get("sha256"), str)
    }
