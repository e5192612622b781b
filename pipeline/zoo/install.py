"""A release by name comes in, a run folder goes out: checked, converted and licensed once.

    zoo/meso4/Meso4_DF.h5      the file as its makers released it, placed there or fetched
    zoo/meso4/run.json         what `train` would have written: network, crops, licence, sha256
    zoo/meso4/checkpoints/     its weights under our names, safetensors
    zoo/meso4/evaluations/     what `evaluate` finds out about it; calibration.json likewise

A file that is not there is fetched where its makers' address, size and sha256 are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from unmask.models import create_model, resolve_options
from unmask.models.options import nearest
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.disk.files import read_bounded
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.newest import RUN_FILE
from unmask.pipeline.runs.run_folder import open_run, write_run
from unmask.pipeline.zoo.fetch import fetch_file
from unmask.pipeline.zoo.releases import RELEASES, Release

PREFIX = "zoo:"
MOST_BYTES = 2**34


def find_release(name: str) -> Release:
    """A release by its name, with or without `zoo:`. Raises UsageError naming the nearest."""
    bare = name.removeprefix(PREFIX)
    if bare not in RELEASES:
        raise UsageError(f"no release '{bare}' in the zoo{nearest(bare, RELEASES)}")
    return RELEASES[bare]


def open_release(name: str, root: Path, accepted: Collection[str] = ()) -> Path:
    """The run folder of a release under `root`, made on first use.

    accepted: names of the releases whose licence the user accepts; kept with the run.
    Raises UsageError: an unknown name, a licence not yet accepted, no file and no way to fetch it;
    CheckpointError: a file that is not the release's or does not fit its network.
    """
    bare, release = name.removeprefix(PREFIX), find_release(name)
    folder = root / bare
    made = (folder / RUN_FILE).is_file()
    if not made and bare not in accepted:
        raise UsageError(
            f"zoo:{bare} is under {release.licence} ({release.terms}; {release.where}): read it, "
            f"then add --accept-licence {bare}"
        )
    if made:
        _refuse_another(folder, release)
        return folder
    data, path = _file(folder, root, bare, release)
    digest = hashlib.sha256(data).hexdigest()
    if release.sha256 and digest != release.sha256:
        raise CheckpointError(
            f"{path}: not the file of zoo:{bare} (sha256 {digest[:12]}..., expected "
            f"{release.sha256[:12]}...); fetch it again from {release.where}"
        )
    options = resolve_options(release.model, release.options)
    tensors = _fitting(release, options, release.convert(data, str(path)), path)
    identity = {"model": release.model, "options": options, "key": ""}
    checkpoint.save(folder, "best-00000000", {"identity": identity}, {"model": tensors})
    config = TrainConfig(model=release.model, options=options, recipe="released")
    write_run(folder, config, _facts(bare, release, path, digest))
    return folder


def _file(folder: Path, root: Path, name: str, release: Release) -> tuple[bytes, Path]:
    for path in (folder / release.file, root / release.file):
        if path.is_file():
            return read_bounded(path, MOST_BYTES, CheckpointError), path
    known = f"sha256 {release.sha256}" if release.sha256 else "sha256 not known to us"
    place = f"put {release.file} ({known}) of {release.where} into {folder}"
    if not release.url:
        raise UsageError(f"zoo:{name}: {place}")
    path = folder / release.file
    try:
        fetch_file(release.url, path, release.sha256, release.size)
    except UsageError as error:
        raise UsageError(f"zoo:{name}: {error}; {place}") from error
    return read_bounded(path, MOST_BYTES, CheckpointError), path


def _fitting(
    release: Release, options: dict[str, object], tensors: dict[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The tensors once they are exactly the network's, name by name and shape by shape."""
    with torch.device("meta"):
        network = create_model(release.model, **options)
    mine = network.state_dict()
    counters = {name for name in mine if name.endswith("num_batches_tracked")}
    missing = sorted(mine.keys() - tensors.keys() - counters)
    extra = sorted(tensors.keys() - mine.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: not the weights of {release.model}: {len(missing)} tensors are missing"
            f"{f' ({missing[0]})' if missing else ''}, {len(extra)} are unknown"
            f"{f' ({extra[0]!s:.60})' if extra else ''}"
        )
    for name, value in tensors.items():
        if value.shape != mine[name].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(mine[name].shape)}"
            raise CheckpointError(f"{path}: tensor {name} is {shapes}")
    steps = {name: torch.zeros((), dtype=torch.int64) for name in counters - tensors.keys()}
    return {name: value.to(mine[name].dtype) for name, value in tensors.items()} | steps


def _facts(name: str, release: Release, path: Path, digest: str) -> Mapping[str, object]:
    crop = release.profile.settings()
    return {
        "release": {
            "name": name,
            "paper": release.paper,
            "file": path.name,
            "sha256": digest,
            "pinned": bool(release.sha256),
            "from": release.where,
            "licence": release.licence,
            "accepted": True,
            "trained on": release.trained,
        },
        "manifest": {"key": "", "sha256": "", "settings": crop},
    }


def _refuse_another(folder: Path, release: Release) -> None:
    """A run of an older table of releases, or of another one, is not the release's."""
    found = open_run(folder).document.get("release")
    digest = found.get("sha256") if isinstance(found, dict) else None
    if digest is None or (release.sha256 and digest != release.sha256):
        raise CheckpointError(
            f"{folder}: not made from the file of this release; remove {folder / RUN_FILE}"
        )
