"""An .onnx file may keep weights in other files, which onnxruntime would look for in the current
folder; here they are read from beside the model or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unmask.pipeline.disk.files import read_bounded
from unmask.pipeline.errors import CheckpointError, UsageError

# What one message of ONNX's format can hold.
MAX_BYTES = 2**31 - 1


def with_weights_inside(data: bytes, path: Path) -> bytes:
    """The same model with every weight in it, so that whoever loads it opens no file.

    data: of the .onnx file `path`.
    Raises CheckpointError for what is no ONNX, and for weights that lie anywhere but in a regular
    file beside `path`; UsageError without the extra [onnx].
    """
    try:
        from google.protobuf.message import DecodeError
        from onnx import ModelProto
    except ImportError as error:
        raise UsageError(f"{path}: onnx is not installed: pip install 'unmask[onnx]'") from error
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: no ONNX model ({type(error).__name__})") from error
    files: dict[str, bytes] = {}
    outside = list(_outside(model))
    for tensor in outside:
        tensor.raw_data = _weights(tensor, path, files)
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
    if not outside:
        return data
    try:
        return model.SerializeToString()
    except (ValueError, DecodeError) as error:
        raise CheckpointError(f"{path}: larger than an ONNX model in one piece can be") from error


def _outside(message: Any) -> Iterator[Any]:
    """Every tensor of a protobuf message whose data lies in another file, wherever it stands:
    weights, constants of nodes, branches, functions.
    """
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if current.DESCRIPTOR.name == "TensorProto":
            if current.data_location == current.EXTERNAL or current.external_data:
                yield current
            continue
        for field, value in current.ListFields():
            if field.message_type is not None:
                waiting += value if hasattr(value, "append") or hasattr(value, "add") else [value]


def _weights(tensor: Any, path: Path, files: dict[str, bytes]) -> bytes:
    """A tensor's bytes from beside the model; files: those read so far, by name."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    name = told.get("location", "")
    if not name or name in (os.curdir, os.pardir) or set(name) & {"/", "\\", "\0"}:
        raise CheckpointError(
            f"{path}: has weights in another file, {name!r:.80}, which is not beside it; refused"
        )
    if name not in files:
        files[name] = read_bounded(path.parent / name, MAX_BYTES, CheckpointError, follow=False)
    try:
        start, length = int(told.get("offset", 0)), told.get("length")
        end = len(files[name]) if length is None else start + int(length)
    except ValueError as error:
        raise CheckpointError(f"{path}: says no place in {name!r:.80} ({error})") from error
    if not 0 <= start <= end <= len(files[name]):
        raise CheckpointError(f"{path}: weights lie outside {name!r:.80}; export the model again")
    return files[name][start:end]
