"""features: equal to the encoder's own answers, keyed, resumable, checked, repaired."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from tests.support.tiny_cache import KEY, make_cache
from unmask.commands.main import main
from unmask.models.spec import NORMS
from unmask.pipeline.cache.feature_group import open_features, verify_features, write_features
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.errors import EXIT_OK, EXIT_REFUSED, EXIT_SOME_FAILED, CacheError
from unmask.pipeline.features.frozen import frozen_encoder
from unmask.pipeline.features.settings import read_index
from unmask.pipeline.runs.run_folder import load_model, open_run

ROOT = Path(__file__).parents[3]
OPTIONS = {"backbone": "test_vit.r160_in1k", "size": 32}
WORDS = ["--option", "backbone=test_vit.r160_in1k", "--option", "size=32", "--from-scratch"]


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(cache, manifests): three pairs of 4 clips x 3 frames."""
    return make_cache(tmp_path_factory.mktemp("crops"), {"train": 2, "val": 1})


def features(crops: tuple[Path, Path], store: Path, *more: str, split: str = "train") -> int:
    cache, manifests = crops
    words = ["features", "--manifest", str(manifests / f"{split}.txt"), "--cache", str(cache)]
    return main([*words, "--store", str(store), *(more or WORDS)])


@pytest.fixture(scope="module")
def stored(crops: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the features of the training videos."""
    store = tmp_path_factory.mktemp("stored") / "features"
    assert features(crops, store) == EXIT_OK
    return store


def folder_of(store: Path) -> Path:
    (folder,) = (store / "tiny" / KEY).iterdir()
    return folder


def hashes(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def test_features_are_the_encoders_own_answers(crops: tuple[Path, Path], stored: Path) -> None:
    model = frozen_encoder(OPTIONS, "random:0", KEY).model
    folder = folder_of(stored) / "f001"
    found = zarr.open_group(folder, mode="r")["features"]
    pixels = open_video(crops[0] / "tiny" / KEY / "f001").read_crops()  # (4, 3, 32, 32, 3)
    mean, std = (np.array(values) for values in NORMS["half"])
    clip = torch.tensor((pixels / 255 - mean) / std).float().permute(0, 1, 4, 2, 3)
    with torch.no_grad():
        expected = model.encoder(clip.flatten(0, 1)).unflatten(0, (4, 3))
    assert found.shape == (4, 3, 64) and found.dtype == np.float16
    np.testing.assert_allclose(found[:], expected.numpy(), rtol=2e-3, atol=2e-3)
    assert np.array_equal(open_features(folder).read(), found[:])


def test_a_second_run_does_nothing_and_another_encoder_has_another_key(
    crops: tuple[Path, Path], stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "features"
    shutil.copytree(stored, store)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.*") if path.is_file()}
    assert features(crops, store) == EXIT_OK
    assert {p: p.stat().st_mtime_ns for p in before if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }
    assert features(crops, store, *WORDS, "--seed", "1") == EXIT_OK
    assert features(crops, store, *WORDS[:2], "--option", "size=48", WORDS[-1]) == EXIT_OK
    keys = sorted(path.name for path in (store / "tiny" / KEY).iterdir())
    assert len(keys) == 3 and len({key.split("-")[-1] for key in keys}) == 3
    out = capsys.readouterr().out
    assert "untrained encoder" in out and f"train --features {keys[0]}" in out


def test_a_changed_crop_is_computed_again(
    crops: tuple[Path, Path], stored: Path, tmp_path: Path
) -> None:
    from unmask.pipeline.cache.writing import replace_attributes

    cache, store = tmp_path / "cache", tmp_path / "features"
    shutil.copytree(crops[0], cache)
    shutil.copytree(stored, store)
    video = cache / "tiny" / KEY / "r000"
    replace_attributes(video, {"method": "another"})
    before = open_features(folder_of(store) / "r000").attributes["crops"]
    assert features((cache, crops[1]), store) == EXIT_OK
    after = open_features(folder_of(store) / "r000").attributes["crops"]
    assert before != after == hashlib.sha256((video / "digest.json").read_bytes()).hexdigest()


def test_damage_is_found_refused_and_mended(
    crops: tuple[Path, Path],
    stored: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = tmp_path / "features"
    shutil.copytree(stored, store)
    truth, folder = hashes(store), folder_of(store)
    shard = folder / "f000" / "features" / "c.0.0.0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    shutil.rmtree(folder / "r001")
    (folder / "r000" / "zarr.json").write_text("{}")
    with pytest.raises(CacheError, match="checksum of clip 0"):
        open_features(folder / "f000").read()
    assert verify_features(folder / "r000") and not verify_features(folder / "f001")
    verify = ["verify", "--cache", str(crops[0]), "--store", str(store)]
    _with_index(crops[0])
    assert main(verify) == EXIT_REFUSED
    out = capsys.readouterr().out
    assert "1 whole, 3 damaged or missing" in out and "r001: missing" in out
    assert main([*verify, "--repair"]) == EXIT_OK
    assert "3 made again" in capsys.readouterr().out
    assert hashes(store) == truth
    assert main(verify) == EXIT_OK


def _with_index(cache: Path) -> None:
    """verify looks for extracted datasets by their index."""
    (cache / "tiny" / KEY / "index.json").write_text('{"settings": {}, "videos": []}')


def test_a_video_without_features_is_recorded_with_its_reason(
    crops: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, store = tmp_path / "cache", tmp_path / "features"
    shutil.copytree(crops[0], cache)
    shard = cache / "tiny" / KEY / "f001" / "crops" / "c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    assert features((cache, crops[1]), store) == EXIT_SOME_FAILED
    rows = [json.loads(line) for line in (folder_of(store) / "outcomes.jsonl").open()]
    assert [(row["video_id"], row["status"], row["reason"]) for row in rows] == [
        ("f000", "ok", ""),
        ("f001", "failed", "damaged_crops"),
        ("r000", "ok", ""),
        ("r001", "ok", ""),
    ]
    assert rows[0]["frames_read"] == 12
    # Weights that let the answers overflow float16.
    weights = tmp_path / "big.safetensors"
    model = frozen_encoder(OPTIONS, "random:0", KEY).model
    with torch.no_grad():
        model.encoder.norm.weight.fill_(1e6)
    from safetensors.torch import save_file

    save_file(model.encoder.state_dict(), weights)
    again = [*WORDS[:-1], "--init", str(weights)]
    assert features(crops, tmp_path / "other", *again) == EXIT_SOME_FAILED
    rows = [json.loads(line) for line in (folder_of(tmp_path / "other") / "outcomes.jsonl").open()]
    assert {row["reason"] for row in rows} == {"not_finite"}


def test_a_full_disk_is_one_line_and_the_next_run_ends_equal(
    crops: tuple[Path, Path],
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from unmask.pipeline.cache import feature_group

    store, written = tmp_path / "features", []
    real = feature_group.write_array

    def full(folder: Path, *rest: object) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(folder)
        real(folder, *rest)

    monkeypatch.setattr(feature_group, "write_array", full)
    assert features(crops, store) == EXIT_REFUSED
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "MiB free" in err
    assert len(read_index(folder_of(store))[1]) == 4
    assert not [path for path in folder_of(store).iterdir() if path.name.startswith(".tmp")]
    monkeypatch.undo()
    assert features(crops, store) == EXIT_OK
    assert hashes(store) == hashes(stored)


def killed_at_the_third_video(crops: tuple[Path, Path], store: Path) -> int:
    """The command in a process of its own that is killed; returns its wait status."""
    from unmask.pipeline.features import compute

    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    real, written = compute.write_features, []

    def write(*args: object, **kwargs: object) -> object:
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        written.append(args)
        return real(*args, **kwargs)

    compute.write_features = write
    features(crops, store)
    os._exit(0)


def test_killed_and_run_again_it_ends_in_the_same_bytes(
    crops: tuple[Path, Path], stored: Path, tmp_path: Path
) -> None:
    """One kill between two videos, and what a kill inside a write leaves."""
    store = tmp_path / "features"
    assert os.WTERMSIG(killed_at_the_third_video(crops, store)) == signal.SIGKILL
    assert sum(path.is_dir() for path in folder_of(store).iterdir()) == 2
    (folder_of(store) / ".tmp-r001-1-0123456789abcdef").mkdir()
    assert features(crops, store) == EXIT_OK
    assert hashes(store) == hashes(stored)


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_in_the_same_bytes(
    crops: tuple[Path, Path], stored: Path, tmp_path: Path
) -> None:
    store, rng = tmp_path / "features", np.random.default_rng(4)
    words = [sys.executable, "cli.py", "features", "--cache", str(crops[0]), "--store", str(store)]
    words += ["--manifest", str(crops[1] / "train.txt"), *WORDS]
    started = time.monotonic()
    subprocess.run(
        [*words[:6], str(tmp_path / "timed"), *words[7:]], cwd=ROOT, check=True, capture_output=True
    )
    took = time.monotonic() - started
    for _ in range(10):
        run = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 1.0) * took)
        run.kill()
        run.wait()
        for path in folder_of(store).iterdir() if (store / "tiny").exists() else ():
            if path.is_dir() and not path.name.startswith("."):
                assert not verify_features(path)
    assert features(crops, store) == EXIT_OK
    assert hashes(store) == hashes(stored)


def test_a_tuned_encoder_gives_the_features_of_its_run(
    crops: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, manifests = crops
    run, store = tmp_path / "run", tmp_path / "features"
    words = ["--manifest", str(manifests / "train.txt"), "--cache", str(cache), "--device", "cpu"]
    options = ["--option", "tune=lora", "--set", "lr=0.1", "--set", "batch=4", "--steps", "3"]
    small = ["--model", "encoder", "--recipe", "pe", "--no-val", "--run", str(run)]
    assert main(["train", *words, *small, *options, *WORDS]) == EXIT_OK
    model, _ = load_model(open_run(run))
    assert any(p.abs().max() > 0 for n, p in model.named_parameters() if n.endswith(".up"))
    assert features(crops, store, "--run", str(run)) == EXIT_OK
    found = zarr.open_group(folder_of(store) / "f001", mode="r")["features"]
    pixels = open_video(cache / "tiny" / KEY / "f001").read_crops()
    mean, std = (np.array(values) for values in NORMS["half"])
    clip = torch.tensor((pixels / 255 - mean) / std).float().permute(0, 1, 4, 2, 3)
    with torch.no_grad():
        expected = model.frame_features(clip).numpy()
    np.testing.assert_allclose(found[:], expected, rtol=2e-3, atol=2e-3)
    # not those of the frozen weights that it began with
    assert np.abs(found[:] - frozen_encoder(OPTIONS, "random:0", KEY).model.frame_features(
        clip).detach().numpy()).max() > 0.05  # fmt: skip
    # a head trains on them, and its run holds the merged encoder
    head = ["train", "--features", "--store", str(store), *words, "--no-val", "--epochs", "1"]
    assert main([*head, "--run", str(tmp_path / "head")]) == EXIT_OK
    with torch.no_grad():
        merged, _ = load_model(open_run(tmp_path / "head"), "last")
        torch.testing.assert_close(
            merged.frame_features(clip), torch.from_numpy(expected), rtol=1e-4, atol=1e-5
        )
    capsys.readouterr()
    (weights,) = run.glob("checkpoints/step-*/model.safetensors")
    for more, code, message in (
        (["--run", str(run), "--option", "size=64"], 2, "has size=32"),
        (["--run", str(run), "--from-scratch"], 2, "exclude each other"),
        ([*WORDS[:-1], "--init", str(weights)], EXIT_REFUSED, "holds low-rank changes"),
        (["--run", str(tmp_path / "nowhere")], EXIT_REFUSED, "nowhere"),
    ):
        assert features(crops, tmp_path / "none", *more) == code
        assert message in capsys.readouterr().err


def test_bad_usage_is_one_line(
    crops: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in (
        ([*WORDS, "--option", "tune=lora"], "features depend on backbone, size, fit alone"),
        ([*WORDS, "--model", "stil"], "only the model encoder has stored features"),
        ([*WORDS, "--init", "x.safetensors"], "exclude each other"),
        (["--option", "backbone=nobody"], "no backbone 'nobody'"),
    ):
        assert features(crops, tmp_path / "none", *more) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_what_is_no_feature_is_not_written(tmp_path: Path) -> None:
    good = np.zeros((2, 1, 3), np.float16)
    for wrong in (good.astype(np.float32), good[0], np.full_like(good, np.inf)):
        with pytest.raises(ValueError, match="features"):
            write_features(tmp_path, "a", wrong, {})
    with pytest.raises(ValueError, match="not a slug"):
        write_features(tmp_path, "../a", good, {})
    assert not list(tmp_path.iterdir())
