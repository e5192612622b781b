"""Write a trained model as one `.pt2` or `.onnx` file with a sidecar, and check it against the
original.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.models.layers.bands import bands_shape
from unmask.models.spec import NORMS, ClipSpec
from unmask.pipeline.config import PredictConfig
from unmask.pipeline.disk.files import read_bounded, write_whole
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.prediction.exported import (
    CHECKED,
    FORMAT,
    KINDS,
    MAX_MODEL,
    TOLERANCE,
    decoded_program,
    read_sidecar,
    sidecar_of,
)
from unmask.pipeline.prediction.scorer import Logits, Scorer, from_run


@dataclass(frozen=True)
class Exported:
    """What export_model wrote. difference: largest difference of a score from the run's.

    bytes: of the file.
    """

    path: Path
    sidecar: Path
    difference: float
    bytes: int


def export_model(folder: Path, target: Path, config: PredictConfig) -> Exported:
    """Write a run as .pt2 or .onnx with its sidecar, after checking that the file gives the run's
    scores.

    Raises UsageError for another suffix, an operator that cannot be exported (named), or without
    the extra [onnx]; CheckpointError for a damaged run or when scores differ by more than 1e-4:
    nothing is written then.
    """
    if target.suffix not in KINDS:
        raise UsageError(f"{target}: expected a file that ends with {' or '.join(KINDS)}")
    scorer = from_run(folder, config)
    network = scorer.network
    assert network is not None, "a run has its network"
    network = network.cpu().eval()
    data = encode(_plain(network), scorer.spec, target.suffix)
    run = decoded_program(data, target)
    difference = _difference(network, run, scorer.spec)
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"{target}: scores differ from the run's by {difference:.2e}, more than "
            f"{TOLERANCE:g}; nothing written"
        )
    sidecar = write_pair(target, data, _sidecar(scorer, data))
    return Exported(target, sidecar, difference, len(data))


def _plain(network: nn.Module) -> nn.Module:
    """The network without the layers that only training needs; the same answers."""
    if not hasattr(network, "merge"):
        return network
    copied = copy.deepcopy(network)
    copied.merge()
    return copied


def write_pair(target: Path, data: bytes, made: dict[str, object]) -> Path:
    """Write an exported file and its sidecar, whose path is returned; stopped at any moment, the
    file that stands there is described.

    Raises DiskError.
    """
    sidecar, old = sidecar_of(target), _described(target)
    if old is not None:
        _write_json(sidecar, {**old, "next": made})
    write_whole(target, data)
    _write_json(sidecar, made)
    return sidecar


def _described(target: Path) -> dict | None:
    """What describes the file that stands there now; None where nothing does."""
    try:
        sha256 = hashlib.sha256(read_bounded(target, MAX_MODEL, CheckpointError)).hexdigest()
        return next((one for one in read_sidecar(target) if one["sha256"] == sha256), None)
    except CheckpointError:
        return None


def _write_json(sidecar: Path, values: dict) -> None:
    write_whole(sidecar, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())


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
                warnings.simplefilter(
                    "ignore", UserWarning
                )  # about weights on another device; these are on the CPU
                torch.export.save(program, out)
            return out.getvalue()
        return _onnx(program)
    except ImportError as error:
        raise UsageError(
            f"ONNX needs packages that are not installed ({error.name}): pip install 'unmask[onnx]'"
        ) from error
    except Exception as error:
        # Whatever the exporters raise here means the same: they do not know something in this
        # network.
        raise UsageError(f"{suffix} cannot hold this network: {_operator(error)}") from error


def _onnx(program: torch.export.ExportedProgram) -> bytes:
    # Not optimised: the exporter's constant folding fails on a split over frames, and onnxruntime
    # folds anyway.
    made = torch.onnx.export(
        program,
        dynamo=True,
        optimize=False,
        verbose=False,
        output_names=["logits"],
        external_data=False,
    )
    return made.model_proto.SerializeToString()


def _operator(error: BaseException) -> str:
    """The operator an exporter stumbled on, from the chain of its errors; else the first error's
    own words.
    """
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
    shape = bands_shape(spec.bands, spec.size, spec.coefficients)
    return clip, torch.rand(count, spec.frames, *shape, generator=noise)


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


def _sidecar(scorer: Scorer, data: bytes) -> dict[str, object]:
    return {
        "format": FORMAT,
        "name": scorer.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "spec": asdict(scorer.spec),
        "settings": scorer.crop.settings(scorer.reference),
        "calibration": asdict(scorer.calibration),
        "facts": scorer.facts,
        "cautions": list(scorer.cautions),
        "knowledge": scorer.knowledge.as_json() if scorer.knowledge.known else None,
        "standings": [asdict(standing) for standing in scorer.standings],
    }
