"""Checkpoints come back bit by bit or not at all, and no file makes us run code."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.newest import saved


def written(run, step=1, **options):
    generator = torch.Generator().manual_seed(step)
    model = {"a.weight": torch.randn(4, 3, generator=generator), "count": torch.tensor(step)}
    parts = {"model": model, "optimizer": {"0.step": torch.tensor(1.0)}}
    return checkpoint.save(
        run, f"step-{step:08d}", {"identity": {"model": "m"}, "progress": {}}, parts, **options
    )


def refusal(folder):
    try:
        return checkpoint.read(folder)
    except CheckpointError as error:
        return str(error)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_was_saved_comes_back(tmp_path):
    point = checkpoint.read(written(tmp_path, 3))
    assert (
        point.state["identity"] == {"model": "m"}
        and point.model["count"] == 3
        and point.ema is None
    )
    assert equal(point.model, load_file(point.folder / "model.safetensors"))


def test_shared_and_transposed_tensors_can_be_saved(tmp_path):
    tensor = torch.arange(12.0).view(3, 4)
    state = {"one": tensor, "same": tensor, "turned": tensor.T}
    folder = checkpoint.save(tmp_path, "step-00000001", {}, {"model": state})
    assert equal(checkpoint.read(folder).model, state)


def test_only_the_newest_are_kept_and_best_ones_are_counted_apart(tmp_path):
    checkpoint.save(tmp_path, "best-00000001", {}, {"model": {"a": torch.ones(1)}}, keep=1)
    for step in range(1, 5):
        written(tmp_path, step, keep=2)
    assert [p.name for p in saved(tmp_path)] == ["step-00000004", "step-00000003"]
    assert len(saved(tmp_path, "best")) == 1


def test_the_sums_are_those_that_sha256sum_checks(tmp_path):
    import hashlib

    folder = written(tmp_path)
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_mutated_checkpoint_is_refused_or_equal(tmp_path, count):
    folder = written(tmp_path)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    whole, rng = checkpoint.read(folder), np.random.default_rng(count)
    for number in range(count):
        path = sorted(files)[number % len(files)]
        data = bytearray(files[path])
        place = int(rng.integers(len(data)))
        kind = int(rng.integers(5))
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = rng.bytes(7)
        elif kind == 3:
            data[:] = b""
        else:
            data[:] = rng.bytes(len(data))
        path.write_bytes(data)
        found = refusal(folder)
        assert isinstance(found, str) or (
            found.state == whole.state and equal(found.model, whole.model)
        ), (
            path,
            kind,
        )
        path.write_bytes(files[path])
        if number % 7 == 0:
            path.unlink()
            assert isinstance(refusal(folder), str)
            path.write_bytes(files[path])
    assert equal(checkpoint.read(folder).model, whole.model)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    written(tmp_path, 1)
    newest = written(tmp_path, 2)
    (newest / "model.safetensors").write_bytes(b"")
    assert checkpoint.newest(tmp_path).folder.name == "step-00000001"
    assert "step-00000002" in caplog.text
    (tmp_path / "checkpoints" / "step-00000001" / "state.json").unlink()
    with pytest.raises(CheckpointError, match="none of 2 checkpoints"):
        checkpoint.newest(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "SHA256SUMS"])
def test_a_pipe_in_a_checkpoint_is_refused_and_never_waited_for(tmp_path, name):
    folder = written(tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "not a regular file" in refusal(folder)


def resigned(folder, name, data):
    """Somebody who also recomputes the sums: not damage but an attack."""
    import hashlib

    (folder / name).write_bytes(data)
    names = sorted(p.name for p in folder.iterdir() if p.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.parametrize(
    "name, data",
    [
        ("model.safetensors", (2**40).to_bytes(8, "little") + b"{}"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("model.safetensors", b""),
        ("state.json", b"[" * 100_000),
        ("state.json", b"[]"),
        ("state.json", b'{"format": 99}'),
        ("state.json", b'{"format": "1"}'),
        ("extra.pt", b"x"),
    ],
)
def test_forged_files_with_right_sums_are_refused(tmp_path, name, data):
    folder = written(tmp_path)
    resigned(folder, name, data)
    assert isinstance(refusal(folder), str)


def test_another_model_or_other_pixels_are_refused_by_field():
    with pytest.raises(CheckpointError, match="key is 'a' there and 'b' here") as caught:
        checkpoint.belongs({"key": "a", "model": "stil"}, {"key": "b", "model": "stil"}, "run")
    assert "model" not in str(caught.value)


def test_weights_of_another_shape_are_refused_by_name():
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"weight 'weight' is \(4, 3\)"):
        checkpoint.load_into(layer, {"weight": torch.zeros(4, 3), "bias": torch.zeros(2)}, "x")
    with pytest.raises(CheckpointError, match="'bias' is only in the model"):
        checkpoint.load_into(layer, {"weight": torch.zeros(2, 3)}, "x")
    with pytest.raises(CheckpointError, match=r"torch.float64"):
        checkpoint.load_into(
            layer, {"weight": torch.zeros(2, 3).double(), "bias": torch.zeros(2)}, "x"
        )


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_goes_on_from_its_saved_state_bit_by_bit(tmp_path, kind):
    def build():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        groups = [
            {"params": [layer.weight], "weight_decay": 0.1},
            {"params": [layer.bias], "weight_decay": 0.0},
        ]
        return layer, kind(groups, lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))

    def step(layer, optimizer):
        optimizer.zero_grad()
        layer(torch.ones(1, 3)).pow(2).sum().backward()
        optimizer.step()

    layer, optimizer = build()
    for _ in range(3):
        step(layer, optimizer)
    tensors, rest = checkpoint.split_optimizer(optimizer.state_dict())
    parts = {"model": layer.state_dict(), "optimizer": tensors}
    folder = checkpoint.save(tmp_path, "step-00000003", {"optimizer": rest}, parts)
    other, resumed = build()
    point = checkpoint.read(folder)
    checkpoint.load_into(other, point.model, folder)
    checkpoint.load_optimizer(resumed, point)
    for _ in range(3):
        step(layer, optimizer)
        step(other, resumed)
    assert equal(layer.state_dict(), other.state_dict())


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def attack_files(folder, marker):
    """A pickle that would run a command, as torch writes it, alone, and with a state_dict around
    it.
    """
    torch.save({"state_dict": {"a": torch.ones(1), "b": Attack(marker)}}, folder / "torch.pt")
    (folder / "plain.pt").write_bytes(pickle.dumps(Attack(marker)))
    (folder / "disguised.safetensors").write_bytes(pickle.dumps(Attack(marker)))
    with zipfile.ZipFile(folder / "zip.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Attack(marker)))
        archive.writestr("archive/version", "3\n")
    torch.save(torch.ones(2), folder / "tensor.pt")
    torch.save({"a": 3}, folder / "numbers.pt")
    (folder / "cut.pt").write_bytes((folder / "torch.pt").read_bytes()[:200])
    return sorted(path for path in folder.iterdir() if path != marker)


def test_no_file_of_weights_runs_code(tmp_path):
    marker = tmp_path / "marker"
    for path in attack_files(tmp_path, marker):
        for trust in (False, True):
            with pytest.raises(CheckpointError):
                checkpoint.read_weights(path, trust=trust)
            assert not marker.exists(), path
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert marker.exists()  # the attack itself works


def test_foreign_weights_are_read_as_safetensors_or_by_explicit_trust(tmp_path):
    state = {"a.weight": torch.randn(2, 2)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {"module.a.weight": state["a.weight"]}}, tmp_path / "w.pt")
    assert equal(checkpoint.read_weights(tmp_path / "w.safetensors"), state)
    with pytest.raises(CheckpointError, match="--trust-checkpoint"):
        checkpoint.read_weights(tmp_path / "w.pt")
    assert equal(checkpoint.read_weights(tmp_path / "w.pt", trust=True), state)


def test_steps_after_the_one_gone_back_to_are_forgotten(tmp_path):
    for step in (1, 2, 3):
        written(tmp_path, step)
    checkpoint.forget_after(tmp_path, 2)
    assert [p.name for p in saved(tmp_path)] == ["step-00000002", "step-00000001"]


def test_a_kill_while_saving_leaves_the_old_checkpoints_and_nothing_visible(tmp_path, monkeypatch):
    written(tmp_path, 1)

    def no_space(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", no_space)
    with pytest.raises(Exception, match="No space"):
        written(tmp_path, 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_state_is_plain_json_that_any_tool_reads(tmp_path):
    state = json.load(io.BytesIO((written(tmp_path) / "state.json").read_bytes()))
    assert state["format"] == checkpoint.FORMAT
