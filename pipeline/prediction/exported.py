"""A trained run comes in, one file that other programs run goes out: .pt2 (torch.export) or .onnx,
and back again.

    model.onnx         the network with its weights; inputs `clip` (B,T,3,S,S) and, where the model
                       wants them, `bands` (B,T,9,S,S); output `logits` (B,2); any B
    model.onnx.json    what a file of weights cannot say: ClipSpec, crops, calibration, hashes

Safe to open: ONNX is data, and onnxruntime gets it with all weights inside, so that it opens no
file itself. A .pt2 is not: torch.export.load evaluates expressions written in the file and
unpickles what plain loading refuses, so it is only opened when the user says that he knows its
maker (`trust`). The sidecar's sha256 tells damage, not malice.

While a model is replaced its sidecar describes both, the new one under `next`: stopped at any
moment, the file that stands has its description.
"""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.samples import MODES
from unmask.pipeline.config import PredictConfig
from unmask.pipeline.disk.files import read_bounded, read_json
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.machine.devices import choose_device
from unmask.pipeline.prediction.crop_settings import crop_from, for_prediction
from unmask.pipeline.prediction.onnx_weights import with_weights_inside
from unmask.pipeline.prediction.scorer import Logits, Scorer
from unmask.pipeline.prediction.trust import MOST_EVALUATIONS, Standing, standing_from
from unmask.pipeline.runs.knowledge import knowledge_from
from unmask.pipeline.scores.calibration import calibration_from

log = logging.getLogger(__name__)

FORMAT = 1
KINDS = (".pt2", ".onnx")
MAX_SIDECAR = 4 * 2**20
MAX_MODEL = 2**40

# What a sidecar must hold, and of which type.
SIDECAR = {
    "name": str,
    "sha256": str,
    "spec": dict,
    "settings": dict,
    "calibration": dict,
    "facts": dict,
    "cautions": list,
}

# Scores of the file and of the run may differ by this much, on every one of CHECKED clips.
TOLERANCE, CHECKED = 1e-4, 5


def sidecar_of(path: Path) -> Path:
    """The JSON file beside an exported model."""
    return path.with_name(f"{path.name}.json")


def open_exported(path: Path, config: PredictConfig) -> Scorer:
    """An exported file as a scorer.

    Raises CheckpointError for a file without a readable sidecar, one that is not the sidecar's, a
    network that does not fit it, or a .pt2 without `trust`; UsageError without the extra [onnx].
    """
    if path.suffix not in KINDS:
        raise CheckpointError(
            f"{path}: not an exported model; expected a run folder, .onnx or .pt2"
        )
    if path.suffix == ".pt2" and not config.trust:
        raise CheckpointError(
            f"{path}: loading a .pt2 file can run code that is written in it. If you know its "
            "maker: --trust-model; "
            "an .onnx file is data only"
        )
    described = read_sidecar(path)
    data = read_bounded(path, MAX_MODEL, CheckpointError)
    sha256 = hashlib.sha256(data).hexdigest()
    values = next((values for values in described if values["sha256"] == sha256), None)
    if values is None:
        raise CheckpointError(
            f"{path}: not the file its sidecar describes (sha256 differs); export it again"
        )
    where = str(sidecar_of(path))
    crop, cautions = crop_from(values["settings"], where)
    crop, more = for_prediction(crop, config)
    calibration = calibration_from(values["calibration"], f"{where}: calibration", CheckpointError)
    device = (
        "cpu" if path.suffix == ".onnx" else choose_device(config.device)
    )  # the extra runs on CPUs
    kept = [line for line in values["cautions"] if isinstance(line, str)]
    return Scorer(
        name=path.name,
        source=path,
        spec=_spec(values["spec"], where),
        crop=crop,
        calibration=calibration,
        reference=str(values["settings"].get("reference", "")),
        logits=decoded_program(data, path, device),
        device=device,
        facts=_facts(values["facts"])
        | {
            "File": {
                "file": path.name,
                "sha256": values["sha256"],
                "made from": str(values["name"]),
            }
        },
        cautions=tuple(dict.fromkeys([*kept, *cautions, *more])),
        knowledge=knowledge_from(values.get("knowledge"), where),
        standings=_standings(values.get("standings", []), where),
    )


def read_sidecar(path: Path) -> list[dict]:
    """What the sidecar of `path` describes: one file, or two while one is replaced.

    Raises CheckpointError.
    """
    sidecar = sidecar_of(path)
    try:
        values = read_json(sidecar, MAX_SIDECAR, CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; not readable as a sidecar, which belongs beside the exported file"
        ) from error
    described = [values, *([values["next"]] if isinstance(values.get("next"), dict) else [])]
    for one in described:
        if one.get("format") != FORMAT or not all(
            isinstance(one.get(name), kind) for name, kind in SIDECAR.items()
        ):
            raise CheckpointError(
                f"{sidecar}: not a sidecar of format {FORMAT}; export the model again"
            )
    return described


def _spec(values: dict, where: str) -> ClipSpec:
    spec = record_of(ClipSpec, values, where, CheckpointError, "spec.")
    if spec.mode not in MODES or not (1 <= spec.frames <= 4096 and 16 <= spec.size <= 4096):
        raise CheckpointError(f"{where}: spec {values!r:.200} is out of range")
    return spec


def _standings(values: object, where: str) -> tuple[Standing, ...]:
    try:
        if not isinstance(values, list) or len(values) > MOST_EVALUATIONS:
            raise TypeError("expected a list")
        return tuple(standing for v in values if (standing := standing_from(v)) is not None)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{where}: standings are not ours ({error})") from error


def _facts(values: dict) -> dict[str, dict[str, str]]:
    return {
        str(title): {str(name): str(value) for name, value in pairs.items()}
        for title, pairs in values.items()
        if isinstance(pairs, dict)
    }


def decoded_program(data: bytes, path: Path, device: str = "cpu") -> Logits:
    """The network in the bytes of an exported file. Raises CheckpointError when they hold none."""
    if path.suffix == ".onnx":
        return _session(with_weights_inside(data, path), path)
    return _program(data, path, device)


def _program(data: bytes, path: Path, device: str) -> Logits:
    try:
        module = torch.export.load(io.BytesIO(data)).module().to(device)
    except Exception as error:  # a damaged archive fails in many ways
        raise CheckpointError(
            f"{path}: cannot be loaded by torch.export ({type(error).__name__})"
        ) from error
    return lambda clip, bands: module(clip) if bands is None else module(clip, bands)


def _session(data: bytes, path: Path) -> Logits:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            f"{path}: onnxruntime is not installed: pip install 'unmask[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise CheckpointError(
            f"{path}: onnxruntime cannot load it ({type(error).__name__})"
        ) from error

    def logits(clip: Tensor, bands: Tensor | None) -> Tensor:
        given: list[NDArray[np.float32]] = [t.cpu().numpy() for t in (clip, bands) if t is not None]
        if len(given) != len(names):
            raise CheckpointError(f"{path}: takes {names}, its spec gives {len(given)} inputs")
        return torch.from_numpy(session.run(None, dict(zip(names, given, strict=True)))[0])

    return logits
