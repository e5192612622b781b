"""Run folders: where a training run keeps what it is, what it did and what it learnt.

    runs/0007-clrnet-ffpp-c23/
        run.json         every setting resolved, recipe, versions, hashes, device: repeats the run
        metrics.jsonl    one line a step and a validation; no clock: equal runs write equal bytes
        speed.jsonl      clips/s and share of time spent waiting for data, one line an epoch
        tensorboard/     the same curves for TensorBoard
        checkpoints/     see pipeline/runs/checkpoint.py

The newest run is the one with the highest number (newest.py): no decision depends on a clock.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from unmask.models import ModelError, create_model
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.disk.files import read_json, refusals, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.disk.permissions import inherited_mode, private_folder
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.checkpoint import Checkpoint
from unmask.pipeline.runs.newest import KINDS, RUN_FILE, numbered

METRICS, SPEED = "metrics.jsonl", "speed.jsonl"
FORMAT = 1
MAX_RUN_FILE = 16 * 1024 * 1024
PATHS = ("manifest", "val", "cache", "init")
LIBRARIES = (
    "unmask",
    "torch",
    "torchvision",
    "lightning-fabric",
    "numpy",
    "timm",
    "safetensors",
    "zarr",
)


@dataclass(frozen=True)
class Run:
    """One run folder as run.json describes it.

    model, options: what create_model takes.
    key, manifest_sha256: of the pixels and the manifest it was trained on.
    document: the whole of run.json.
    """

    folder: Path
    config: TrainConfig
    model: str
    options: dict[str, Any]
    key: str
    manifest_sha256: str
    document: dict[str, Any] = field(repr=False)

    @property
    def manifest(self) -> Path:
        return Path(self.config.manifest)

    @property
    def settings(self) -> dict[str, Any]:
        """Extraction settings of the crops it was trained on; {} where run.json does not know
        them.
        """
        manifest = self.document.get("manifest")
        settings = manifest.get("settings") if isinstance(manifest, dict) else None
        return settings if isinstance(settings, dict) else {}


def new_run(root: Path, model: str, manifest: Path) -> Path:
    """Make the next numbered folder under `root`: model and the manifest's two folders,
    0007-clrnet-ffpp-c23. A `root` that is new is its owner's alone (0700), for networks remember
    faces. Raises DiskError when the file system refuses.
    """
    words = [model, *(manifest.absolute().parent.parts[-2:])]
    tail = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(word for word in words if word.strip("/")))[
        :80
    ].strip("-")
    with refusals(root / tail):
        private_folder(root)
        number = max((number for number, _ in numbered(root)), default=0)
        while True:
            number += 1
            try:
                (folder := root / f"{number:04d}-{tail}").mkdir(mode=inherited_mode(root))
                return folder
            except FileExistsError:
                continue


def write_run(folder: Path, config: TrainConfig, facts: dict[str, Any]) -> None:
    """Write run.json: the configuration, what became of it, and the versions it ran with.

    Its paths stand there as they were given, and once more as seen from the run's folder, so that
    the run works from any folder and moves together with them. Raises DiskError.
    """
    document = {
        "format": FORMAT,
        "config": dataclasses.asdict(config),
        "places": _places(folder, config),
        **facts,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in LIBRARIES},
        },
    }
    write_whole(
        folder / RUN_FILE, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
    )


def _places(folder: Path, config: TrainConfig) -> dict[str, str]:
    """Name of a path in the configuration -> the same as seen from the run's folder."""
    home = folder.resolve()
    return {
        name: os.path.relpath(Path(getattr(config, name)).resolve(), home)
        for name in PATHS
        if getattr(config, name)
    }


def config_at(document: dict[str, Any], path: Path) -> TrainConfig:
    """The configuration of a run.json that lies at `path`, its paths leading where they led when it
    was written, whatever the current folder is.

    A place that is not there any more stays as it was given. Raises CheckpointError.
    """
    config = config_from(document["config"], path)
    places = document.get("places")
    places = places if isinstance(places, dict) else {}
    found: dict[str, Any] = {}
    for name in PATHS:
        place, given = places.get(name), Path(getattr(config, name))
        if not isinstance(place, str) or not getattr(config, name):
            continue
        seen_from_run = Path(os.path.normpath(path.parent.resolve() / place))
        try:
            if seen_from_run.exists() and not (given.exists() and given.samefile(seen_from_run)):
                found[name] = str(seen_from_run)
        except (OSError, ValueError):  # a forged name, too long for a file system
            continue
    return dataclasses.replace(config, **found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def read_document(path: Path) -> dict[str, Any]:
    """A run.json as plain values. Raises CheckpointError for what is absent, too large or not of
    this form.
    """
    try:
        document = read_json(path, MAX_RUN_FILE, CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; not a readable run.json: name a run folder") from error
    if not isinstance(document.get("config"), dict):
        raise CheckpointError(f"{path}: has no 'config'; expected a run.json of unmask")
    if type(document.get("format")) is not int or document["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {document.get('format')!r:.40}, this version reads up to {FORMAT}"
        )
    return document


def open_run(folder: Path) -> Run:
    """Read a run folder's run.json. Raises CheckpointError."""
    document = read_document(folder / RUN_FILE)
    config = config_at(document, folder / RUN_FILE)
    manifest = document.get("manifest")
    manifest = manifest if isinstance(manifest, dict) else {}
    key, sha256 = str(manifest.get("key", "")), str(manifest.get("sha256", ""))
    return Run(folder, config, config.model, dict(config.options), key, sha256, document)


def config_from(values: dict[str, Any], where: Path) -> TrainConfig:
    """A TrainConfig from JSON. Raises CheckpointError naming an unknown field or one of another
    type.
    """
    return record_of(TrainConfig, values, where, CheckpointError, "config.")


def load_model(run: Run, which: str = "best", key: str = "") -> tuple[nn.Module, Checkpoint]:
    """The run's network with its best (or `last`) weights, averaged ones where it kept such; on the
    CPU, eval mode.

    key: cache key of the pixels it is about to see; "" asks for nothing (plain pictures, other
    people's crops).
    Raises CheckpointError for a damaged checkpoint, one of another model or other pixels, naming
    the field, and for a model that is not installed any more.
    """
    point = checkpoint.newest(run.folder, KINDS[which])
    wanted: dict[str, Any] = {"model": run.model, "options": run.options} | (
        {"key": key} if key else {}
    )
    identity = point.state.get("identity")
    checkpoint.belongs(identity if isinstance(identity, dict) else {}, wanted, point.folder)
    try:
        network = create_model(run.model, **run.options)
    except ModelError as error:  # its package was removed, is broken, or has other options by now
        raise CheckpointError(f"{run.folder}: {error}") from error
    checkpoint.load_into(network, point.ema or point.model, point.folder)
    return network.eval(), point
