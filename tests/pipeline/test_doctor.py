"""Each trap is set for real or as the system would report it, and doctor names it with its
remedy.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torchvision.ops

from tests.support.small_videos import commit
from unmask.pipeline import doctor

Usage = namedtuple("Usage", "total used free")


def test_this_machine_is_looked_at_completely(tmp_path: Path) -> None:
    found = list(doctor.examine(tmp_path / "cache"))
    assert [f.name for f in found] == [
        *(
            "python",
            "packages",
            "detector pins",
            "torch pair",
            "decoders",
            "pixels",
            "encoder",
            "device",
            "safe loading",
        ),
        *("cores", "temporary", "disk", "locks", "cache"),
    ]
    assert all(f.remedy for f in found if f.state != "ok"), "no complaint without a remedy"
    assert {f.name: f.state for f in found}["torch pair"] == "ok"
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def test_facenet_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "2.6.0")
    found = doctor.detector_pins()
    assert (
        found.state == "fail" and "2.6.0" in found.seen and "facenet-pytorch==2.5.3" in found.remedy
    )


def test_a_torchvision_of_another_torch_is_told_whether_it_fails_at_import_or_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    with monkeypatch.context() as patch:
        patch.setattr(torchvision.ops, "nms", broken)
        at_work = doctor.torch_pair()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchvision.ops", None)
        at_import = doctor.torch_pair()
    for found in (at_work, at_import):
        assert found.state == "fail" and "--force-reinstall torch torchvision" in found.remedy
    assert "torchvision::nms" in at_work.seen
    assert doctor.torch_pair().state == "ok"


def test_a_check_that_breaks_is_itself_a_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    states = {f.name: f for f in doctor.examine(tmp_path)}
    assert states["decoders"].state == "fail" and "ModuleNotFoundError" in states["decoders"].seen
    assert states["cache"].state == "ok", "the others are still looked at"


def test_missing_decoders_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"h264", "mjpeg"})
    found = doctor.decoders()
    assert found.state == "warn" and "hevc" in found.seen and "h264" not in found.seen


def test_a_full_tmpfs_and_a_small_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30 - 2**20, 2**20))
    full, small = doctor.temporary(), doctor.disk(tmp_path / "not" / "yet")
    assert full.state == "fail" and "1 MiB free" in full.seen and "TMPDIR" in full.remedy
    assert small.state == "warn" and "0.0 GiB free" in small.seen and "--cache" in small.remedy


def test_the_variable_that_lets_checkpoints_run_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.safe_loading().state == "ok"
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert doctor.safe_loading().state == "fail"


def test_a_read_only_cache_and_one_without_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    assert doctor.locks(tmp_path).state == "ok"
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", no_locks)
        found = doctor.locks(tmp_path)
    assert found.state == "warn" and "--no-lock" in found.remedy
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "read-only" in doctor.locks(tmp_path).seen


def test_the_health_of_a_cache(tmp_path: Path) -> None:
    assert "nothing extracted" in doctor.cache_health(tmp_path).seen
    parent = tmp_path / "ffpp" / "key"
    for name in ("a", "b"):
        commit(parent, name)
    (parent / "index.json").write_text("{}")
    assert doctor.cache_health(tmp_path).seen.startswith(
        "2 videos in 1 folders, 0 damaged, 0 temporaries"
    )
    (parent / ".tmp-c-1-0123abcd").mkdir()
    assert doctor.cache_health(tmp_path).state == "warn"
    (parent / "a" / "digest.json").write_bytes(b"")
    found = doctor.cache_health(tmp_path)
    assert found.state == "fail" and "1 damaged" in found.seen and "verify" in found.remedy
