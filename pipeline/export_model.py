"""A trained run comes in, one file that other programs run goes out: .pt2 (torch.export) or .onnx, and back again.

    model.onnx         the network with its weights; inputs `clip` (B,T,3,S,S) and, where the model wants them,
                       `bands` (B,T,9,S,S); output `logits` (B,2); any B
    model.onnx.json    what a file of weights cannot say: ClipSpec, crop settings, calibration, hashes

Safe to open: ONNX is data, read from memory so that it cannot name other files. A .pt2 is not: torch.export.load
evaluates expressions written in the file and unpickles what plain loading refuses, so it is only opened when the user
says that he knows its maker (`trust`). The sidecar's sha256 tells damage, not malice.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.spec import NORMS, ClipSpec
from pipeline.atomic import write_whole
from pipeline.calibration import Calibration
from pipeline.config import PredictConfig
from pipeline.devices import choose_device
from pipeline.errors import CheckpointError, UsageError
from pipeline.scorers import Logits, Scorer, crop_from, for_prediction, from_run

log = logging.getLogger(__name__)

FORMAT = 1
KINDS = (".pt2", ".onnx")
MAX_SIDECAR = 4 * 2**20

# Scores of the file and of the run may differ by this much, on every one of CHECKED clips.
TOLERANCE, CHECKED = 1e-4, 5


@dataclass(frozen=True)
class Exported:
    """What export_model wrote. difference: largest difference of a score from the run's.   bytes: of the file."""

    path: Path
    sidecar: Path
    difference: float
    bytes: int


def export_model(folder: Path, target: Path, config: PredictConfig) -> Exported:
    """Write a run as .pt2 or .onnx with its sidecar, after checking that the file gives the run's scores.

    Raises UsageError for another suffix, an operator that cannot be exported (named), or without the extra [onnx];
    CheckpointError for a damaged run or when scores differ by more than 1e-4: nothing is written then.
    """
    if target.suffix not in KINDS:
        raise UsageError(f"{target}: expected a file that ends with {' or '.join(KINDS)}")
    scorer = from_run(folder, config)
    network = scorer.network
    assert network is not None, "a run has its network"
    network = network.cpu().eval()
    data = encode(network, scorer.spec, target.suffix)
    run = _decoded(data, target)
    difference = _difference(network, run, scorer.spec)
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"{target}: scores differ from the run's by {difference:.2e}, more than {TOLERANCE:g}; nothing written"
        )
    sidecar = sidecar_of(target)
    sidecar.unlink(missing_ok=True)  # a new file beside an old sidecar would be refused as damaged
    write_whole(target, data)
    write_whole(sidecar, _sidecar(scorer, data).encode())
    return Exported(target, sidecar, difference, len(data))


def sidecar_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def encode(network: nn.Module, spec: ClipSpec, suffix: str) -> bytes:
    """The network as the bytes of a .pt2 or .onnx file; any number of clips at once.

    Raises UsageError naming the operator that cannot be exported.
    """
    inputs = examples(spec, 2)
    try:
        with torch.no_grad():
            program = torch.export.export(
                network, inputs, dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
            )
        out = io.BytesIO()
        if suffix == ".pt2":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about weights on another device; these are on the CPU
                torch.export.save(program, out)
            return out.getvalue()
        return _onnx(program)
    except ImportError as error:
        raise UsageError(
            f"ONNX needs packages that are not installed ({error.name}): pip install 'unmask[onnx]'"
        ) from error
    except Exception as error:
        # Whatever the exporters raise here means the same: they do not know something in this network.
        raise UsageError(f"{suffix} cannot hold this network: {_operator(error)}") from error


def _onnx(program: torch.export.ExportedProgram) -> bytes:
    # Not optimised: the exporter's constant folding fails on a split over frames, and onnxruntime folds anyway.
    made = torch.onnx.export(
        program, dynamo=True, optimize=False, verbose=False, output_names=["logits"], external_data=False
    )
    return made.model_proto.SerializeToString()


def _operator(error: BaseException) -> str:
    """The operator an exporter stumbled on, from the chain of its errors; else the first error's own words."""
    causes, at = [], error
    while at is not None:
        causes.append(at)
        at = at.__cause__ or at.__context__
    for cause in reversed(causes):
        named = re.search(r"\b(?:aten|prims|torchvision|quantized)(?:::|\.)[\w.]+", str(cause))
        if named:
            return f"operator {named[0]} ({type(cause).__name__})"
    return f"{type(causes[-1]).__name__}: {str(causes[-1]).splitlines()[0][:200]}"


def examples(spec: ClipSpec, count: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Made-up inputs of the right shape and range: clips, and bands where the model wants them."""
    noise = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, spec.frames, 3, spec.size, spec.size, generator=noise)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMS[spec.norm])
    clip = (unit - mean) / std
    if spec.bands is None:
        return (clip,)
    return clip, torch.rand(count, spec.frames, 9, spec.size, spec.size, generator=noise)


def _difference(network: nn.Module, other: Logits, spec: ClipSpec) -> float:
    """Largest difference of a score, over one clip at a time and over all at once."""
    inputs = examples(spec, CHECKED, seed=1)
    with torch.inference_mode():
        truth = network(*inputs).softmax(1)[:, 1].double()
        together = other(*_pair(inputs)).softmax(1)[:, 1].double()
        single = other(*_pair(tuple(t[:1] for t in inputs))).softmax(1)[:, 1].double()
    return max(float((truth - together).abs().max()), float((truth[:1] - single).abs().max()))


def _pair(inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    return inputs[0], inputs[1] if len(inputs) > 1 else None


def _sidecar(scorer: Scorer, data: bytes) -> str:
    made = {
        "format": FORMAT,
        "name": scorer.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "spec": asdict(scorer.spec),
        "settings": scorer.crop.settings(),
        "calibration": asdict(scorer.calibration),
        "facts": scorer.facts,
        "cautions": list(scorer.cautions),
    }
    return json.dumps(made, indent=1, allow_nan=False) + "\n"


def open_exported(path: Path, config: PredictConfig) -> Scorer:
    """An exported file as a scorer.

    Raises CheckpointError for a file without a readable sidecar, one that is not the sidecar's, a network that does
    not fit it, or a .pt2 without `trust`; UsageError without the extra [onnx].
    """
    if path.suffix not in KINDS:
        raise CheckpointError(f"{path}: not an exported model; expected a run folder, .onnx or .pt2")
    if path.suffix == ".pt2" and not config.trust:
        raise CheckpointError(
            f"{path}: loading a .pt2 file can run code that is written in it. If you know its maker: --trust-model; "
            "an .onnx file is data only"
        )
    values = _read_sidecar(path)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != values["sha256"]:
        raise CheckpointError(f"{path}: not the file its sidecar describes (sha256 differs); export it again")
    where = str(sidecar_of(path))
    crop, cautions = crop_from(values["settings"], where)
    crop, more = for_prediction(crop, config)
    calibration = _calibration(values["calibration"], where)
    device = "cpu" if path.suffix == ".onnx" else choose_device(config.device)  # the extra runs on CPUs
    kept = [line for line in values["cautions"] if isinstance(line, str)]
    return Scorer(
        name=path.name,
        source=path,
        spec=_spec(values["spec"], where),
        crop=crop,
        calibration=calibration,
        logits=_decoded(data, path, device),
        device=device,
        facts=_facts(values["facts"])
        | {"File": {"file": path.name, "sha256": values["sha256"], "made from": str(values["name"])}},
        cautions=tuple(dict.fromkeys([*kept, *cautions, *more])),
    )


def _read_sidecar(path: Path) -> dict:
    sidecar = sidecar_of(path)
    try:
        if sidecar.stat().st_size > MAX_SIDECAR:
            raise CheckpointError(f"{sidecar}: larger than {MAX_SIDECAR} bytes, not a sidecar")
        values = json.loads(sidecar.read_bytes())
        missing = {"format", "name", "sha256", "spec", "settings", "calibration", "facts", "cautions"} - set(values)
        kinds = [isinstance(values.get(key), dict) for key in ("spec", "settings", "calibration", "facts")]
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{sidecar}: not readable ({type(error).__name__}); it belongs beside the exported file"
        ) from error
    if missing or not all(kinds) or not isinstance(values["cautions"], list) or values["format"] != FORMAT:
        raise CheckpointError(f"{sidecar}: not a sidecar of format {FORMAT}; export the model again")
    return values


def _spec(values: dict, where: str) -> ClipSpec:
    try:
        spec = ClipSpec(**values)
        good = (
            spec.mode in ("consecutive", "sparse", "chained", "single")
            and spec.fit in ("crop", "resize")
            and spec.norm in NORMS
            and 1 <= int(spec.frames) <= 4096
            and 16 <= int(spec.size) <= 4096
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: spec is not one of ours ({type(error).__name__})") from error
    if not good:
        raise CheckpointError(f"{where}: spec {values} is out of range")
    return spec


def _calibration(values: dict, where: str) -> Calibration:
    try:
        made = Calibration(**{**values, "unsure": tuple(values["unsure"])})
        low, high = made.unsure
        good = 0 <= low <= made.threshold <= high <= 1 and made.temperature > 0
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{where}: calibration is not one of ours ({type(error).__name__})") from error
    if not good:
        raise CheckpointError(f"{where}: calibration out of range")
    return made


def _facts(values: dict) -> dict[str, dict[str, str]]:
    return {
        str(title): {str(name): str(value) for name, value in pairs.items()}
        for title, pairs in values.items()
        if isinstance(pairs, dict)
    }


def _decoded(data: bytes, path: Path, device: str = "cpu") -> Logits:
    return _session(data, path) if path.suffix == ".onnx" else _program(data, path, device)


def _program(data: bytes, path: Path, device: str) -> Logits:
    try:
        module = torch.export.load(io.BytesIO(data)).module().to(device)
    except Exception as error:  # a damaged archive fails in many ways
        raise CheckpointError(f"{path}: cannot be loaded by torch.export ({type(error).__name__})") from error
    return lambda clip, bands: module(clip) if bands is None else module(clip, bands)


def _session(data: bytes, path: Path) -> Logits:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path}: onnxruntime is not installed: pip install 'unmask[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise CheckpointError(f"{path}: onnxruntime cannot load it ({type(error).__name__})") from error

    def logits(clip: Tensor, bands: Tensor | None) -> Tensor:
        given: list[NDArray[np.float32]] = [t.cpu().numpy() for t in (clip, bands) if t is not None]
        if len(given) != len(names):
            raise CheckpointError(f"{path}: takes {names}, its spec gives {len(given)} inputs")
        return torch.from_numpy(session.run(None, dict(zip(names, given, strict=True)))[0])

    return logits
