"""A trained run comes in, a Scorer goes out: what turns prepared clips into logits, and how its crops were cut.

Predict asks a Scorer and never a model, so that runs and exported files (pipeline/export_model.py) are used alike.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.spec import ClipSpec
from pipeline import calibration as cal
from pipeline.calibration import Calibration
from pipeline.checkpoint import SUMS, Checkpoint
from pipeline.config import CropConfig, PredictConfig
from pipeline.devices import choose_device
from pipeline.errors import CheckpointError, UsageError
from pipeline.manifests import PICTURES_KEY, settings_of
from pipeline.runs import Run, load_model, open_run
from pipeline.scores import read, videos
from pipeline.tables import Cell

log = logging.getLogger(__name__)

# Without validation scores nobody knows better: half, and no verdict within a tenth of it.
DEFAULT = Calibration(
    unsure=(0.4, 0.6),
    note="no validation scores: threshold 0.5 and unsure from 0.4 to 0.6 are defaults; evaluate --threshold-from "
    "fits them",
)

Logits = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Scorer:
    """One member of an ensemble.

    logits: (clip (B,T,3,S,S), bands or None) -> (B,2), on `device`.   crop: settings of the crops it was trained on.
    network: the module behind it where there is one, for its attention.   facts: how it was made, in groups.
    evaluations: folder with its evaluations, or None.   cautions: what a reader of its scores must know.
    """

    name: str
    source: Path
    spec: ClipSpec
    crop: CropConfig
    calibration: Calibration
    logits: Logits
    device: str
    network: nn.Module | None = None
    facts: dict[str, dict[str, Cell]] = field(default_factory=dict)
    evaluations: Path | None = None
    cautions: tuple[str, ...] = ()


def from_run(folder: Path, config: PredictConfig) -> Scorer:
    """The network of a run folder with its crop settings and calibration.

    Raises CheckpointError for a damaged run, or one whose crop settings nobody knows any more; UsageError for a
    calibration file that is not ours.
    """
    run, device = open_run(folder), choose_device(config.device)
    model, point = load_model(run, config.which)
    crop, cautions = crop_of(run, Path(config.cache) if config.cache else None)
    crop, more = for_prediction(crop, config)
    calibration = calibration_of(folder)
    model = model.to(device)
    return Scorer(
        name=folder.resolve().name,
        source=folder,
        spec=replace(model.spec, masks=False),
        crop=crop,
        calibration=calibration,
        logits=model,
        device=device,
        network=model,
        facts=facts_of(run, point, crop),
        evaluations=folder / "evaluations",
        cautions=tuple(
            line for line in (*cautions, *more, calibration.note, *doubts(folder / "evaluations")) if line
        ),
    )


def crop_of(run: Run, cache: Path | None = None) -> tuple[CropConfig, list[str]]:
    """Settings of the crops a run was trained on, and what is doubtful about them.

    From run.json, else from one cached video of the run's key. Raises CheckpointError when neither knows them.
    """
    if run.key == PICTURES_KEY:
        length = _at_least(run.config.options.get("frames"), CropConfig.frames)
        made = CropConfig(frames=length)
        return made, ["Trained on plain pictures: nobody knows how they were cut; the settings of extract are taken."]
    manifest = run.document.get("manifest")
    known = manifest.get("settings") if isinstance(manifest, dict) else None
    for settings in (known, *_cached_settings(run, cache or Path(run.config.cache))):
        if isinstance(settings, dict) and settings:
            return crop_from(settings, str(run.folder))
    if CropConfig().cache_key() == run.key:
        return CropConfig(), []
    raise CheckpointError(
        f"{run.folder}: the settings of its crops (key {run.key}) stand neither in run.json nor in a cache; "
        "name the cache it was trained on with --cache"
    )


def _at_least(value: object, least: int) -> int:
    return max(least, value) if isinstance(value, int) else least


def _cached_settings(run: Run, cache: Path) -> Iterator[dict[str, object]]:
    for parent in sorted(cache.glob(f"*/{run.key}")) if run.key else []:
        yield from (settings_of(folder) for folder in sorted(parent.iterdir())[:3])


def crop_from(settings: dict[str, object], where: str) -> tuple[CropConfig, list[str]]:
    """The settings a cached group or a sidecar keeps, as a CropConfig; and a caution where libraries differ.

    Raises CheckpointError for a setting this version does not know or that has another type.
    """
    values = {name: value for name, value in settings.items() if name not in ("format", "libraries")}
    for name, value in values.items():
        default = getattr(CropConfig, name, None)
        if default is None:
            raise CheckpointError(f"{where}: crops have the setting {name!r:.40}, which this version does not know")
        kind = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
            raise CheckpointError(f"{where}: crop setting {name} is {value!r:.40}, expected {type(default).__name__}")
    crop = CropConfig(**values)
    if not (1 <= crop.clips <= 4096 and 1 <= crop.frames <= 256 and 16 <= crop.size <= 2048 and crop.margin > 0):
        raise CheckpointError(f"{where}: crop settings out of range: {crop.clips} x {crop.frames}, {crop.size} px")
    mine, theirs = crop.settings()["libraries"], settings.get("libraries")
    other = [n for n, v in mine.items() if isinstance(theirs, dict) and theirs.get(n) not in (None, v)]
    listed = ", ".join(f"{name} {mine[name]} instead of {theirs[name]}" for name in other)
    return crop, [f"Other libraries than in training may change pixels slightly: {listed}."] if other else []


def for_prediction(crop: CropConfig, config: PredictConfig) -> tuple[CropConfig, list[str]]:
    """The same pixels for a video without a label: no masks, no boxes of an original, as many persons as asked."""
    cautions = []
    faces = crop.faces if config.faces == "trained" else config.faces
    if faces != crop.faces:
        cautions.append(
            f"Trained on crops with --faces {crop.faces}; with {faces} boxes, and so scores, differ slightly."
        )
    if crop.pair_boxes:
        cautions.append("Trained on fakes cut with the boxes of their originals; here faces are found in the video.")
    device = crop.device
    if device == "cuda" and not torch.cuda.is_available():
        device = "cpu"
        cautions.append("Training crops were found on a GPU; here the detector runs on the CPU.")
    return replace(crop, masks=False, pair_boxes=False, faces=faces, device=device, bands=False), cautions


def calibration_of(folder: Path) -> Calibration:
    """What `evaluate --threshold-from` left in the run, else a fit to its evaluated validation set, else DEFAULT."""
    if (folder / cal.FILE).is_file():
        return cal.read(folder / cal.FILE)
    for path in sorted((folder / "evaluations").glob("*-val/scores.csv")):
        rows, sha256 = read(path)
        joined = videos(rows)
        try:
            return cal.fit(joined.label, joined.score, source=str(path), sha256=sha256)
        except UsageError as error:
            log.warning("no calibration from %s: %s", path, error)
    return DEFAULT


def doubts(root: Path) -> list[str]:
    """What a verdict must say of a run whose own evaluation found it no better than chance."""
    found = []
    for path in sorted(root.glob("*/metrics.json")):
        try:
            auc = json.loads(path.read_bytes())["levels"]["video"]["metrics"]["auc"]
            if auc["low"] is not None and auc["low"] <= 0.5:
                found.append(
                    f"On {path.parent.name} this model was no better than chance (AUC {auc['value']:.3f}, interval "
                    f"from {auc['low']:.3f}): its verdicts mean little."
                )
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s: not readable as an evaluation", path)
    return found


def facts_of(run: Run, point: Checkpoint, crop: CropConfig) -> dict[str, dict[str, Cell]]:
    """How a run was made, for reports and sidecars: settings, hashes, versions."""
    sums = (point.folder / SUMS).read_text(encoding="ascii").split()
    weights = dict(zip(sums[1::2], sums[::2], strict=True))
    progress = point.state.get("progress")
    versions = run.document.get("versions")
    manifest = run.document.get("manifest")
    trained = manifest if isinstance(manifest, dict) else {}
    return {
        "Model": {
            "run": str(run.folder),
            "model": run.model,
            "options": json.dumps(run.options, sort_keys=True),
            "checkpoint": point.folder.name,
            "weights sha256": weights.get("ema.safetensors") or weights.get("model.safetensors"),
        },
        "Training": {
            "manifest": run.config.manifest,
            "manifest sha256": run.manifest_sha256,
            "videos": f"{trained.get('real', '?')} real, {trained.get('fake', '?')} fake",
            "recipe": run.config.recipe,
            "seed": run.config.seed,
            "steps": progress.get("step") if isinstance(progress, dict) else None,
            "cache key": run.key,
        },
        "Crops": {name: value for name, value in crop.settings().items() if isinstance(value, str | int | float)},
        "Versions in training": {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
    }
