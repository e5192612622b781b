"""What unmask makes is its owner's alone, and a folder that somebody opened stays open."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny_cache import make_cache
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.disk.folders import commit_folder
from unmask.pipeline.disk.locks import LOCK_FILE, lock_cache
from unmask.pipeline.disk.permissions import like_parent, private_folder
from unmask.pipeline.extraction.run import prepare_folder
from unmask.pipeline.training.train import train


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(root: Path) -> set[tuple[bool, int]]:
    """(is a folder, permissions) of everything under a folder, itself included."""
    found = [root, *root.rglob("*")]
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}


def fill(folder: Path) -> None:
    (folder / "crops").mkdir()
    (folder / "crops" / "zarr.json").touch()


def extracted(parent: Path) -> None:
    """What an extraction does to a cache folder, as far as permissions go."""
    prepare_folder(parent)
    with lock_cache(parent):
        write_whole(parent / "index.json", b"{}")
        write_whole(parent / ".outcomes" / "video.json", b"{}")
        commit_folder(parent / "video", fill, 0)


def test_a_new_cache_is_its_owners_alone(tmp_path: Path) -> None:
    cache = tmp_path / "data" / "cache"
    extracted(cache / "ffpp" / "key")
    assert modes(cache) == {(True, 0o700), (False, 0o600)}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert (cache / "ffpp" / "key" / LOCK_FILE).exists()


@pytest.mark.parametrize(
    ("given", "mask", "folder", "file"),
    [
        (0o755, 0o022, 0o755, 0o644),  # made with mkdir: as everything else there
        (0o2775, 0o002, 0o2775, 0o664),  # a group's, as groups share folders
        (0o2770, 0o022, 0o2750, 0o640),  # the umask holds
        (0o777, 0o000, 0o775, 0o664),  # never that everybody may write
    ],
)
def test_a_cache_whose_folder_the_user_made_is_shared_as_the_folder_is(
    tmp_path: Path, given: int, mask: int, folder: int, file: int
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(given)
    os.umask(mask)
    extracted(cache / "ffpp" / "key")
    assert modes(cache / "ffpp") == {(True, folder), (False, file)}


def test_a_cache_that_was_opened_for_the_group_later_stays_open_for_what_is_new(
    tmp_path: Path,
) -> None:
    cache = tmp_path / "cache"
    extracted(cache / "ffpp" / "key")
    for path in [cache, *cache.rglob("*")]:  # chmod -R g+rX
        path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o050 if path.is_dir() else 0o040))
    commit_folder(cache / "ffpp" / "key" / "another", fill, 0)
    extracted(cache / "celebdf" / "key")
    assert modes(cache) == {(True, 0o750), (False, 0o640)}


def test_a_new_run_is_its_owners_alone(tmp_path: Path) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 2})
    options = {"width": 8, "frames": 3, "size": 32, "recurrent_kernel": "1"}
    config = TrainConfig(
        manifest=str(manifests / "train.txt"), cache=str(cache), model="clrnet", options=options,
        steps=1, tensorboard=False,
    )  # fmt: skip
    done = train(config, tmp_path / "runs")
    assert modes(tmp_path / "runs") == {(True, 0o700), (False, 0o600)}
    assert (done.run / "checkpoints").is_dir() and (done.run / "metrics.jsonl").is_file()


def test_a_file_in_the_way_is_an_error_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    for make in (private_folder, like_parent):
        with pytest.raises(NotADirectoryError):
            make(tmp_path / "cache")
