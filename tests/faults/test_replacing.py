"""Whatever replaces something of a user's is killed at every file-system event it makes: the old or
the new stands, whole, and the next run ends as if nothing was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.forks import EVENTS, ended, leftovers, start
from tests.support.tiny_cache import make_cache
from unmask.pipeline.clips.hdf5 import open_export
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.prediction.export import write_pair
from unmask.pipeline.prediction.exported import read_sidecar
from unmask.pipeline.scores import evaluation_folder
from unmask.pipeline.scores.evaluation_folder import keep_older, new_evaluation

FORKED = EVENTS | {"os.link"}


@dataclass
class Replacing:
    """write(folder, version) makes version 1 or replaces what is there by 2; read(folder) gives the
    version that a user finds, or fails.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], int]


def write_evaluation(folder: Path, version: int) -> None:
    with new_evaluation(folder / "x-test") as new:
        write_whole(new / "scores.csv", b"%d" % version)
        write_whole(new / "report.html", b"%d" % version)


def read_evaluation(folder: Path) -> int:
    found = {path.name: path.read_text() for path in (folder / "x-test").iterdir()}
    assert sorted(found) == ["report.html", "scores.csv"] and len(set(found.values())) == 1
    return int(found["scores.csv"])


def write_table(folder: Path, version: int) -> None:
    keep_older(folder / "across.md")
    write_whole(folder / "across.md", b"%d" % version)


def write_model(folder: Path, version: int) -> None:
    data = b"weights %d" % version
    made = {name: {} for name in ("spec", "settings", "calibration", "facts")}
    made |= {"format": 1, "name": str(version), "cautions": []}
    write_pair(folder / "m.onnx", data, {**made, "sha256": hashlib.sha256(data).hexdigest()})


def read_model(folder: Path) -> int:
    """The version whose description the sidecar has for the file that stands there."""
    sha256 = hashlib.sha256((folder / "m.onnx").read_bytes()).hexdigest()
    (described,) = [v for v in read_sidecar(folder / "m.onnx") if v["sha256"] == sha256]
    return int(described["name"])


def write_h5(folder: Path, version: int) -> None:
    cache, manifests = folder.parent / "cache", folder.parent / "manifests" / "tiny"
    split = {1: "train", 2: "test"}[version]
    write_export(folder / "x.h5", read_manifest(manifests / f"{split}.txt", cache))


def read_h5(folder: Path) -> int:
    export = open_export(folder / "x.h5")
    for video in export.videos:
        for clip in range(video.clips):
            video.read("crops", clip, video.empty(1)[0])
    return {2: 1, 4: 2}[len(export)]


KINDS = {
    "evaluation": Replacing(write_evaluation, read_evaluation),
    "table": Replacing(write_table, lambda folder: int((folder / "across.md").read_text())),
    "model": Replacing(write_model, read_model),
    "export": Replacing(write_h5, read_h5),
}


def killed_at(event: int, task: Callable[[], None], place: str) -> bool:
    """Run a task in a fork that dies at its N-th event under a folder; whether it got so far."""

    def dying() -> None:
        seen = 0

        def count(name: str, args: tuple) -> None:
            nonlocal seen
            if name in FORKED and (name == "fcntl.flock" or place in os.fsdecode(str(args[0]))):
                seen += 1
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        task()

    status, told = ended(*start(dying))
    assert os.WIFSIGNALED(status) or status == 0, told
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_every_event_leaves_the_old_or_the_new(
    kind: str, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    if kind == "export":
        make_cache(tmp_path, {"train": 1, "test": 2})
    one, event, seen = KINDS[kind], 0, []
    again = True
    while again:
        event += 1
        folder = tmp_path / f"{kind}{event}"
        folder.mkdir()
        one.write(folder, 1)
        again = killed_at(event, lambda folder=folder: one.write(folder, 2), str(folder))
        seen.append(one.read(folder))
        one.write(folder, 2)
        assert one.read(folder) == 2 and not leftovers(folder)
        older = list(folder.glob("older/*"))
        if kind in ("evaluation", "table"):  # the first one is kept, whatever happened
            texts = [(p / "scores.csv" if p.is_dir() else p).read_text() for p in older]
            assert "1" in texts and texts[-1:] != []
        shutil.rmtree(folder)
    assert seen == sorted(seen) and {1, 2} == set(seen), "the old one until the new one is whole"
    figure(f"kill -9 while replacing ({kind})", f"{event - 1} kills: the old or the new each time")


def test_without_an_exchange_of_names_the_old_evaluation_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file system cannot swap: two renames, and what was there lies among the older."""
    monkeypatch.setattr(evaluation_folder, "exchange", lambda first, second: False)
    for version in (1, 2, 3):
        write_evaluation(tmp_path, version)
    assert read_evaluation(tmp_path) == 3
    older = sorted((tmp_path / "older").iterdir())
    assert [(p.name, (p / "scores.csv").read_text()) for p in older] == [
        ("x-test-1", "1"), ("x-test-2", "2"),
    ]  # fmt: skip
    assert not leftovers(tmp_path)


def test_an_interrupted_replacement_is_described_and_opened(tmp_path: Path) -> None:
    """Between the first and the last step a sidecar describes both files."""
    write_model(tmp_path, 1)
    old = json.loads((tmp_path / "m.onnx.json").read_text())
    first = (tmp_path / "m.onnx").read_bytes()
    write_model(tmp_path, 2)
    new = json.loads((tmp_path / "m.onnx.json").read_text())
    assert "next" not in new
    (tmp_path / "m.onnx.json").write_text(json.dumps({**old, "next": new}))
    assert read_model(tmp_path) == 2
    (tmp_path / "m.onnx").write_bytes(first)
    assert read_model(tmp_path) == 1
    assert [one["name"] for one in read_sidecar(tmp_path / "m.onnx")] == ["1", "2"]
