"""Weights of an .onnx file come from the file itself or from one beside it, from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.prediction.exported import decoded_program
from unmask.pipeline.prediction.onnx_weights import with_weights_inside

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2)


def model(location: str | None, where: str = "initializer", **told: str) -> bytes:
    """(B,3) @ WEIGHTS as an ONNX model; location: the file its weights are said to lie in."""
    tensor = onnx.numpy_helper.from_array(WEIGHTS, "w")
    if location is not None:
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")
        for key, value in told.items():
            tensor.external_data.add(key=key, value=value)
    helper = onnx.helper
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", width])
        for name, width in (("clip", 3), ("logits", 2))
    ]
    nodes = [helper.make_node("MatMul", ["clip", "w"], ["logits"])]
    if where == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    weights = [tensor] if where == "initializer" else []
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def answers(data: bytes, path: Path) -> np.ndarray:
    clip = torch.tensor([[1.0, 10.0, 100.0]])
    return decoded_program(data, path)(clip, None).numpy()


@pytest.mark.parametrize("where", ["initializer", "constant"])
def test_weights_beside_the_model_are_read_whatever_the_current_folder_is(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "w.bin").write_bytes(b"head" + WEIGHTS.tobytes() + b"tail")
    (elsewhere / "w.bin").write_bytes(b"head" + (WEIGHTS * 0).tobytes() + b"tail")
    monkeypatch.chdir(elsewhere)
    data = model("w.bin", where, offset="4", length="24")
    truth = answers(model(None, where), home / "m.onnx")
    assert np.array_equal(answers(data, home / "m.onnx"), truth)
    assert np.array_equal(truth, [[1, 10, 100] @ WEIGHTS])


def test_a_model_with_its_weights_inside_stays_byte_for_byte(tmp_path: Path) -> None:
    assert with_weights_inside(data := model(None), tmp_path / "m.onnx") == data


@pytest.mark.parametrize("where", ["initializer", "constant"])
@pytest.mark.parametrize("location", ["../w.bin", "{root}/w.bin", "in/w.bin", "..", "", "in\\w"])
def test_weights_elsewhere_are_refused(location: str, where: str, tmp_path: Path) -> None:
    home = tmp_path / "models"
    (home / "in").mkdir(parents=True)
    for folder in (tmp_path, home, home / "in"):
        (folder / "w.bin").write_bytes(WEIGHTS.tobytes())
    data = model(location.format(root=tmp_path), where)
    with pytest.raises(CheckpointError, match="not beside it"):
        answers(data, home / "m.onnx")


def test_a_link_a_pipe_or_a_short_file_beside_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    path = tmp_path / "m.onnx"
    (tmp_path / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match=r"w\.bin"):
        answers(model("w.bin"), path)
    (tmp_path / "w.bin").unlink()
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(CheckpointError, match="not a regular file"):
        answers(model("w.bin"), path)
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").write_bytes(b"short")
    for told in ({"offset": "9"}, {"length": "24"}, {"offset": "-1"}, {"length": "x"}):
        with pytest.raises(CheckpointError, match=r"w\.bin"):
            answers(model("w.bin", **told), path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no ONNX model"):
        with_weights_inside(b"\x0a\xff\xff", tmp_path / "m.onnx")
