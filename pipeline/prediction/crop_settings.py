"""Which crop settings a prediction must use: those of the crops that the model was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from unmask.pipeline.cache.index import settings_in_cache
from unmask.pipeline.config import CropConfig, PredictConfig, pixel_libraries
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.manifests.checked import PICTURES_KEY
from unmask.pipeline.runs.run_folder import Run

# What settings hold beside the fields of CropConfig; `libraries` in caches of before there were
# references.
NOT_FIELDS = frozenset({"format", "libraries", "reference"})


def crop_of(run: Run, cache: Path | None = None) -> tuple[CropConfig, list[str]]:
    """Settings of the crops a run was trained on, and what is doubtful about them.

    From run.json, else from the index of a cache folder with the run's key.
    Raises: CheckpointError when neither knows them.
    """
    if run.key == PICTURES_KEY:
        length = _at_least(run.config.options.get("frames"), CropConfig.frames)
        made = CropConfig(frames=length)
        return made, [
            "Trained on plain pictures: nobody knows how they were cut; the settings of extract "
            "are taken."
        ]
    settings = run.settings or settings_in_cache(cache or Path(run.config.cache), run.key)
    if settings:
        return crop_from(settings, str(run.folder))
    default = CropConfig()
    if run.key == default.cache_key(reference_of(default)):
        return default, []
    raise CheckpointError(
        f"{run.folder}: the settings of its crops (key {run.key}) stand neither in run.json nor "
        "in a cache; "
        "name the cache it was trained on with --cache"
    )


def _at_least(value: object, least: int) -> int:
    return max(least, value) if isinstance(value, int) else least


def crop_from(settings: dict[str, object], where: str) -> tuple[CropConfig, list[str]]:
    """The settings a cached group or a sidecar keeps, as a CropConfig; and a caution where
    libraries differ.

    Raises CheckpointError for a setting this version does not know or that has another type.
    """
    values = {name: value for name, value in settings.items() if name not in NOT_FIELDS}
    for name, value in values.items():
        default = getattr(CropConfig, name, None)
        if default is None:
            raise CheckpointError(
                f"{where}: crops have the setting {name!r:.40}, which this version does not know"
            )
        kind = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
            raise CheckpointError(
                f"{where}: crop setting {name} is {value!r:.40}, expected {type(default).__name__}"
            )
    crop = record_of(CropConfig, values, where, CheckpointError, "crop setting ")
    if not (
        1 <= crop.clips <= 4096
        and 1 <= crop.frames <= 256
        and 16 <= crop.size <= 2048
        and crop.margin > 0
    ):
        raise CheckpointError(
            f"{where}: crop settings out of range: {crop.clips} x {crop.frames}, {crop.size} px"
        )
    return crop, _other_pixels(crop, settings)


def _other_pixels(crop: CropConfig, settings: dict[str, object]) -> list[str]:
    """A caution where this machine gives other pixels or boxes than the one that made the training
    crops.

    Crops of before there were references say which libraries made them instead.
    """
    theirs = settings.get("libraries")
    if isinstance(theirs, dict):
        differing = CropConfig.differing(theirs, pixel_libraries())
        listed = ", ".join(
            f"{name} {here} instead of {there}"
            for name, (there, here) in differing.items()
            if there is not None
        )
        words = f"Other libraries than in training may change pixels slightly: {listed}."
        return [words] if listed else []
    there = settings.get("reference")
    if not there:
        return []
    here = reference_of(crop if torch.cuda.is_available() else replace(crop, device="cpu"))
    words = (
        f"This machine gives other pixels or boxes ({here}) than the one that made the training "
        f"crops ({there!s:.20}); scores may differ slightly."
    )
    return [words] if here != there else []


def for_prediction(crop: CropConfig, config: PredictConfig) -> tuple[CropConfig, list[str]]:
    """The same pixels for a video without a label: no masks, no boxes of an original, as many
    persons as asked.
    """
    cautions = []
    faces = crop.faces if config.faces == "trained" else config.faces
    if faces != crop.faces:
        cautions.append(
            f"Trained on crops with --faces {crop.faces}; with {faces} boxes, and so scores, "
            "differ slightly."
        )
    if crop.pair_boxes:
        cautions.append(
            "Trained on fakes cut with the boxes of their originals; here faces are found in the "
            "video."
        )
    device = crop.device
    if device == "cuda" and not torch.cuda.is_available():
        device = "cpu"
        cautions.append("Training crops were found on a GPU; here the detector runs on the CPU.")
    return replace(
        crop, masks=False, pair_boxes=False, faces=faces, device=device, bands=False
    ), cautions
