"""A release becomes a run folder: once, of the right file, with its licence accepted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch

from tests.support.keras_files import plant_meso4, random_meso4, write_keras
from unmask.models import create_model
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.zoo.install import find_release, open_release
from unmask.pipeline.zoo.releases import RELEASES


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return plant_meso4(tmp_path / "zoo", monkeypatch)


def test_it_is_a_run_with_the_files_weights_and_says_where_they_came_from(file) -> None:
    folder = open_release("zoo:meso4", file.parent.parent, {"meso4"})
    assert folder == file.parent
    run = open_run(folder)
    network, _ = load_model(run)
    kernel = torch.from_numpy(random_meso4()["conv2d_5"]["kernel:0"])
    assert torch.equal(network.convs[0].weight, kernel.permute(3, 2, 0, 1).contiguous())
    assert network.spec.size == 320 and run.settings["size"] == 320
    release = run.document["release"]
    assert release["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert release["licence"] == "Apache-2.0" and release["accepted"] and release["pinned"]


def test_the_licence_is_asked_for_once_and_nothing_is_written_before(file) -> None:
    root = file.parent.parent
    with pytest.raises(UsageError, match=r"zoo:meso4 is under Apache-2.0 .*--accept-licence meso4"):
        open_release("zoo:meso4", root, {"meso4-f2f"})
    assert [path.name for path in file.parent.iterdir()] == ["Meso4_DF.h5"]
    assert open_release("zoo:meso4", root, {"meso4"}) == open_release("zoo:meso4", root)


def test_a_second_call_changes_nothing(file) -> None:
    root = file.parent.parent
    folder = open_release("meso4", root, {"meso4"})
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
    open_release("zoo:meso4", root)
    assert before == {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


def test_a_kill_between_weights_and_record_is_made_good_by_the_next_call(file) -> None:
    root = file.parent.parent
    folder = open_release("zoo:meso4", root, {"meso4"})
    whole = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (folder / "run.json").unlink()
    open_release("zoo:meso4", root, {"meso4"})
    assert whole == {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_without_file_and_address_it_says_which_and_where_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(RELEASES, "meso4", dataclasses.replace(RELEASES["meso4"], url=""))
    with pytest.raises(UsageError, match=r"put Meso4_DF.h5 \(sha256 036ed30d.*DariusAf/MesoNet"):
        open_release("zoo:meso4", tmp_path, {"meso4"})


def test_a_file_beside_the_folders_is_found_too(file) -> None:
    root = file.parent.parent
    file.rename(root / file.name)
    assert (open_release("zoo:meso4", root, {"meso4"}) / "run.json").is_file()


def test_another_file_is_refused(file) -> None:
    write_keras(file, random_meso4(seed=1))
    with pytest.raises(CheckpointError, match="not the file of zoo:meso4"):
        open_release("zoo:meso4", file.parent.parent, {"meso4"})
    assert not (file.parent / "run.json").exists()


def test_a_file_nobody_pinned_must_fit_name_by_name_and_is_written_down(file, monkeypatch) -> None:
    open_file = dataclasses.replace(RELEASES["meso4"], sha256="")
    monkeypatch.setitem(RELEASES, "meso4", open_file)
    folder = open_release("zoo:meso4", file.parent.parent, {"meso4"})
    release = open_run(folder).document["release"]
    assert not release["pinned"] and len(release["sha256"]) == 64
    (folder / "run.json").unlink()
    for change, message in (
        (lambda t: t.pop("dense.bias"), r"1 tensors are missing \(dense.bias\)"),
        (lambda t: t.update(more=t["dense.bias"]), r"1 are unknown \(more\)"),
        (lambda t: t.update({"dense.bias": torch.zeros(3)}), r"\(3,\) instead of \(16,\)"),
    ):

        def convert(data: bytes, where: str, change=change) -> dict[str, torch.Tensor]:
            tensors = open_file.convert(data, where)
            change(tensors)
            return tensors

        other = dataclasses.replace(open_file, convert=convert)
        monkeypatch.setitem(RELEASES, "meso4", other)
        with pytest.raises(CheckpointError, match=message):
            open_release("zoo:meso4", file.parent.parent, {"meso4"})


def test_a_folder_made_from_another_file_is_refused(file) -> None:
    folder = open_release("zoo:meso4", file.parent.parent, {"meso4"})
    document = json.loads((folder / "run.json").read_text())
    document["release"]["sha256"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="not made from the file of this release"):
        open_release("zoo:meso4", file.parent.parent)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no release 'mes4' in the zoo; did you mean 'meso4"):
        find_release("zoo:mes4")


@pytest.mark.parametrize("name", RELEASES)
def test_every_row_is_complete_and_its_network_takes_its_crops(name: str) -> None:
    release = RELEASES[name]
    assert all((release.file, release.where, release.licence, release.terms, release.paper))
    assert release.trained and len(release.sha256) in (0, 64)
    # nothing is fetched that is not known to the byte
    assert bool(release.url) == bool(release.size) and (not release.url or release.sha256)
    assert not release.url or release.url.startswith("https://")
    with torch.device("meta"):
        spec = create_model(release.model, **release.options).spec
    assert spec.fit == "resize" or spec.size <= release.profile.size
    clips, frames = release.profile.clips, release.profile.frames
    if spec.mode == "runs":
        assert spec.run <= frames and spec.frames // spec.run <= clips
    else:
        assert spec.frames <= max(frames, clips) or spec.mode == "chained"
