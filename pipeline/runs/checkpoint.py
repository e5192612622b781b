"""Checkpoints: what training needs to go on as if nothing had happened, and what evaluation needs
to score.

    RUN/checkpoints/step-00000120/   the newest two
        state.json               format, step, epoch, batch, identity (model, options, pixels)
        model.safetensors  weights; ema.safetensors, optimizer.safetensors where there are such
        SHA256SUMS         of the files above; `sha256sum -c` reads it. No format checks its content
    RUN/checkpoints/best-00000090/   the best by validation, without the optimizer

Each folder appears by one rename, synced. Loading runs no code: JSON and safetensors only, and the
one torch.load of this package (foreign .pt weights, asked for in words) is `weights_only=True` with
nothing else allowed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from unmask.pipeline.disk.files import json_object, parse_json, read_bounded, refusals
from unmask.pipeline.disk.folders import commit_folder, remove_folder
from unmask.pipeline.disk.permissions import like_parent
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.newest import CHECKPOINTS, saved

log = logging.getLogger(__name__)

FORMAT = 1
SUMS, STATE = "SHA256SUMS", "state.json"
PARTS = ("model", "ema", "optimizer")
MAX_STATE = 16 * 1024 * 1024
MAX_SUMS = 2**16
MAX_TENSORS = 2**40

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint.

    state: the plain JSON values.
    model, ema, optimizer: tensors by name, on the CPU; the latter two may be absent.
    """

    folder: Path
    state: dict
    model: Tensors
    ema: Tensors | None = None
    optimizer: Tensors | None = None


def save(
    run: Path, name: str, state: dict, parts: Mapping[str, Tensors | None], keep: int = 0
) -> Path:
    """Write one checkpoint atomically; with `keep`, remove older ones of its kind (the word before
    the dash).

    Raises: DiskError when the file system refuses (no space, quota, read-only); the older
    checkpoints are then untouched.
    """
    target = run / CHECKPOINTS / name
    tensors = {part: _plain(values) for part, values in parts.items() if values}
    needed = sum(
        t.numel() * t.element_size() for values in tensors.values() for t in values.values()
    )

    def fill(folder: Path) -> None:
        for part, values in tensors.items():
            _save_tensors(values, folder / f"{part}.safetensors")
        text = json.dumps({"format": FORMAT, **state}, indent=1, sort_keys=True, allow_nan=False)
        (folder / STATE).write_text(text, encoding="utf-8")
        names = sorted(path.name for path in folder.iterdir())
        (folder / SUMS).write_text(
            "".join(f"{_sha256(folder / n)}  {n}\n" for n in names), encoding="utf-8"
        )

    remove_folder(target)  # a step that is walked again after falling back to an older checkpoint
    with refusals(target, needed):
        like_parent(run / CHECKPOINTS)
    commit_folder(target, fill, needed)
    if keep:
        for old in saved(run, name.split("-")[0])[keep:]:
            remove_folder(old)
    return target


def _save_tensors(values: Tensors, path: Path) -> None:
    """safetensors' own error of a write that the system refuses, as the OSError it stands for."""
    try:
        save_file(values, path)
    except SafetensorError as error:
        code = re.search(r"\bcode: (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def read(folder: Path) -> Checkpoint:
    """Read one checkpoint and check every byte against its sums.

    Raises CheckpointError for what is missing, damaged, of a newer format, or not a checkpoint.
    """
    sums = _sums(folder)
    names = {path.name for path in folder.iterdir()} - {SUMS}
    if names != set(sums) or STATE not in names or "model.safetensors" not in names:
        raise CheckpointError(
            f"{folder}: holds {sorted(names)}, {SUMS} lists {sorted(sums)}; use another checkpoint"
        )
    data = {name: _checked(folder / name, digest) for name, digest in sums.items()}
    state = _state(data.pop(STATE), folder / STATE)
    parts: dict[str, Tensors] = {}
    for name, content in data.items():
        part = name.removesuffix(".safetensors")
        if part not in PARTS:
            raise CheckpointError(f"{folder / name}: not a file of a checkpoint")
        parts[part] = _tensors(content, folder / name)
    return Checkpoint(folder, state, parts["model"], parts.get("ema"), parts.get("optimizer"))


def newest(run: Path, kind: str = "step") -> Checkpoint:
    """The newest whole checkpoint; a damaged one is named in the log and the one before it is
    taken.

    Raises CheckpointError when none is whole.
    """
    folders, problems = saved(run, kind), []
    for folder in folders:
        try:
            return read(folder)
        except CheckpointError as error:
            problems.append(str(error))
            log.warning("checkpoint refused, trying the one before it: %s", error)
    if problems:
        raise CheckpointError(
            f"{run}: none of {len(folders)} checkpoints can be read; {problems[0]}"
        )
    raise CheckpointError(f"{run / CHECKPOINTS}: no {kind} checkpoint; train first")


def belongs(saved_identity: Mapping, wanted: Mapping, where: Path) -> None:
    """Refuse a checkpoint of another model or other pixels. Raises CheckpointError naming each
    differing field.
    """
    differing = [
        f"{name} is {saved_identity.get(name)!r:.300} there and {value!r:.300} here"
        for name, value in wanted.items()
        if saved_identity.get(name) != value
    ]
    if differing:
        raise CheckpointError(f"{where}: belongs to another run: {'; '.join(differing)}")


def load_into(module: torch.nn.Module, tensors: Tensors, where: Path) -> None:
    """Put weights into a model whose names and shapes must agree exactly. Raises CheckpointError
    naming the first.
    """
    mine = module.state_dict()
    for name in sorted(mine.keys() | tensors.keys()):
        if name not in mine or name not in tensors:
            raise CheckpointError(
                f"{where}: weight '{name}' is only in the "
                f"{'model' if name in mine else 'checkpoint'}"
            )
        if mine[name].shape != tensors[name].shape or mine[name].dtype != tensors[name].dtype:
            theirs = f"{tuple(tensors[name].shape)} {tensors[name].dtype}"
            raise CheckpointError(
                f"{where}: weight '{name}' is {theirs}, the model has {tuple(mine[name].shape)} "
                f"{mine[name].dtype}"
            )
    module.load_state_dict(tensors)


def split_optimizer(state: dict) -> tuple[Tensors, dict]:
    """An optimizer's state_dict as tensors by `<parameter>.<name>` and the rest as JSON values."""
    tensors: Tensors = {}
    scalars: dict[str, dict] = {}
    for parameter, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}.{name}"] = value
            else:
                scalars.setdefault(str(parameter), {})[name] = value
    return tensors, {"scalars": scalars, "param_groups": state["param_groups"]}


def join_optimizer(tensors: Tensors, rest: dict) -> dict:
    """The inverse of split_optimizer."""
    state: dict[int, dict] = {
        int(parameter): dict(values) for parameter, values in rest["scalars"].items()
    }
    for key, tensor in tensors.items():
        parameter, _, name = key.partition(".")
        state.setdefault(int(parameter), {})[name] = tensor
    return {"state": state, "param_groups": rest["param_groups"]}


def load_optimizer(optimizer: torch.optim.Optimizer, point: Checkpoint) -> None:
    """Put a checkpoint's optimizer state back. Raises CheckpointError when it does not fit the
    parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        state = join_optimizer(point.optimizer or {}, point.state["optimizer"])
        for number, values in state["state"].items():
            for name, value in values.items():
                shape = tuple(parameters[number].shape)
                if isinstance(value, Tensor) and value.dim() and tuple(value.shape) != shape:
                    raise ValueError(
                        f"{number}.{name} is {tuple(value.shape)}, the parameter {shape}"
                    )
        optimizer.load_state_dict(state)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{point.folder}: its optimizer state does not fit the model ({error})"
        ) from error


def forget_after(run: Path, step: int) -> None:
    """Remove the checkpoints of steps after `step` (damaged ones, or of a future that is walked
    again), and what a killed run left half-written.
    """
    if (run / CHECKPOINTS).is_dir():
        remove_stale(run / CHECKPOINTS)
    for kind in ("step", "best"):
        for folder in saved(run, kind):
            if int(folder.name.split("-")[1]) > step:
                remove_folder(folder)


def read_weights(path: Path, trust: bool = False) -> Tensors:
    """Weights from elsewhere, by name: safetensors; a pickle (.pt, .pth, .bin) only with `trust`,
    and weights only.

    Raises CheckpointError for anything else, and for anything that holds more than tensors.
    """
    try:
        data = path.read_bytes() if path.suffix == ".safetensors" else b""
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix == ".safetensors":
        return weights_in(data, path)
    if not trust:
        raise CheckpointError(
            f"{path}: not a .safetensors file; other files may hold code. If you know its maker: "
            "--trust-checkpoint"
        )
    return _tensors_of(_unpickled(path, path), path)


def weights_in(data: bytes, path: Path) -> Tensors:
    """Weights in the bytes of a file whose maker is known: safetensors by its name, else torch's,
    weights only.

    Raises CheckpointError for anything that holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return _tensors(data, path)
    return _tensors_of(_unpickled(io.BytesIO(data), path), path)


def _unpickled(source: Path | io.BytesIO, path: Path) -> object:
    # Everything that a broken or hostile file can raise here means one thing: it is not a file of
    # weights.
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a file of plain weights ({type(error).__name__}); nothing in it was run"
        ) from error


def _tensors_of(content: object, path: Path) -> Tensors:
    for wrapper in ("state_dict", "model_state", "model", "net"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors by name")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _plain(values: Tensors) -> Tensors:
    # safetensors refuses tensors that share memory, and a running optimizer would change them while
    # they are written.
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in values.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    data = read_bounded(folder / SUMS, MAX_SUMS, CheckpointError)
    try:
        lines = data.decode("ascii").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except ValueError as error:
        raise CheckpointError(
            f"{folder}: no readable {SUMS} ({type(error).__name__}); not a whole checkpoint"
        ) from error


def _checked(path: Path, digest: str) -> bytes:
    most = MAX_STATE if path.name == STATE else MAX_TENSORS
    data = read_bounded(path, most, CheckpointError)
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(
            f"{path}: damaged, its sha256 is not the one in {SUMS}; use another checkpoint"
        )
    return data


def _state(data: bytes, path: Path) -> dict:
    state = json_object(parse_json(data, path, CheckpointError), path, CheckpointError)
    if type(state.get("format")) is not int:
        raise CheckpointError(f"{path}: expected an object with a format number")
    if state["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {state['format']} is newer than {FORMAT}; update unmask"
        )
    return state


def _tensors(data: bytes, path: Path) -> Tensors:
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{path}: not readable safetensors ({error})") from error
