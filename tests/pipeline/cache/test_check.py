"""verify reads every byte of what is there; repair makes exactly the damaged again, or says why it
cannot.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.forks import in_this_process
from tests.pipeline.extraction.test_run import tree_hash
from unmask.pipeline.cache import check
from unmask.pipeline.cache.video import verify_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.disk.locks import lock_cache
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction import dispatch, repair, run
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

CROP = CropConfig(clips=2, frames=2, size=48, bands=False, pair_boxes=True)
CONFIG = ExtractConfig(crop=CROP, jobs=1)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process: worker processes are not the point."""
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)


@pytest.fixture(scope="module")
def made(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A real and its two fakes, cut at the real's boxes."""
    found = discover("ffpp", drawn, SourceOptions(methods=("Deepfakes", "NeuralTextures")))
    real = next(v for v in found.videos if v.label == 0)
    dataset = replace(found, videos=(real, *(v for v in found.videos if v.pair == real.key)))
    cache = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "dispatch", in_this_process)
        assert [o.status for o in run.extract(dataset.videos, CONFIG, cache)] == ["ok"] * 3
    return dataset, cache


@pytest.fixture
def cache(made: tuple[Dataset, Path], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made[1], tmp_path / "cache")
    return tmp_path / "cache"


def folders(cache: Path) -> list[Path]:
    (parent,) = check.cache_folders(cache)
    return check.video_folders(parent)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def hashes(cache: Path) -> dict[str, str]:
    return {name.removeprefix(str(cache)): digest for name, digest in tree_hash(cache).items()}


def test_folders_are_found_by_dataset_and_whatever_is_no_group_is_left_out(cache: Path) -> None:
    assert len(folders(cache)) == 3
    (parent,) = check.cache_folders(cache, "ffpp")
    (parent / ".tmp-x").mkdir()
    (parent / "a file").write_text("")
    assert len(check.video_folders(parent)) == 3
    with pytest.raises(CacheError, match="celebdf"):
        check.cache_folders(cache, "celebdf")


@pytest.mark.parametrize("threads", [1, 4])
def test_problems_come_in_the_order_asked_for_and_name_the_file(cache: Path, threads: int) -> None:
    flip(folders(cache)[1] / "crops" / "c.0.0.0.0.0")
    checked = list(check.check(folders(cache), threads))
    assert [c.folder for c in checked] == folders(cache)
    assert [bool(c.problems) for c in checked] == [False, True, False]
    assert "crops/c.0.0.0.0.0" in checked[1].problems[0]


@pytest.mark.parametrize("which", range(3))
def test_repair_gives_the_same_bytes_also_of_a_fake_cut_at_its_originals_boxes(
    cache: Path, which: int
) -> None:
    before, doomed, seen = hashes(cache), folders(cache)[which], []
    others = {f: f.stat().st_ino for f in folders(cache) if f != doomed}
    flip(doomed / "crops" / "c.0.0.0.0.0")
    ended = repair.repair([doomed], CONFIG, cache, seen.append)
    assert [o.video_id for o in ended] == [doomed.name] == [o.video_id for o in seen]
    assert hashes(cache) == before
    assert {f: f.stat().st_ino for f in others} == others


def test_settings_come_from_the_cache_and_not_from_the_caller(cache: Path) -> None:
    before = hashes(cache)
    flip(folders(cache)[0] / "zarr.json")
    repair.repair([folders(cache)[0]], ExtractConfig(jobs=1), cache, lambda _: None)
    assert hashes(cache) == before


def test_further_persons_are_repaired_with_their_video(cache: Path) -> None:
    """A folder `<video>--1` belongs to the video; both are made again together."""
    folder = folders(cache)[0]
    shutil.copytree(folder, folder.with_name(f"{folder.name}--1"))
    (folder.with_name(f"{folder.name}--1") / "digest.json").write_bytes(b"")
    ended = repair.repair([folder.with_name(f"{folder.name}--1")], CONFIG, cache, lambda _: None)
    assert [o.status for o in ended] == ["ok"] and len(folders(cache)) == 3


def test_a_folder_that_no_index_names_is_refused_before_anything_is_removed(cache: Path) -> None:
    parent = folders(cache)[0].parent
    (parent / "stranger").mkdir()
    before = hashes(cache)
    with pytest.raises(CacheError, match="stranger"):
        repair.repair([folders(cache)[0], parent / "stranger"], CONFIG, cache, lambda _: None)
    assert hashes(cache) == before


def break_row(cache: Path, video_id: str) -> None:
    """Make the row of one video no JSON."""
    path = folders(cache)[0].parent / "index.json"
    named = f'"video_id": "{video_id}"'
    path.write_text(path.read_text().replace(named, named[:-1]))


def test_a_damaged_row_of_the_index_costs_no_other_video_its_repair(cache: Path) -> None:
    """What was made and is lost is missed without its row; extract writes the row again."""
    before = hashes(cache)
    one, other, _ = folders(cache)
    break_row(cache, one.name)
    shutil.rmtree(one)
    flip(other / "crops" / "c.0.0.0.0.0")
    (row,) = check.damaged_rows(one.parent)
    assert "index.json: line" in row
    assert check.missing_videos(one.parent) == [one]
    with pytest.raises(CacheError, match=f"{one.name} is in no index"):
        repair.repair([one, other], CONFIG, cache, lambda _: None)
    lost = {name for name in before if one.name in name or name.endswith("index.json")}
    assert {n: d for n, d in hashes(cache).items() if n not in lost} == {
        n: d for n, d in before.items() if n not in lost
    }
    assert not verify_video(other) and check.missing_videos(one.parent) == [one]


def test_extract_after_a_damaged_row_ends_in_the_bytes_of_a_fresh_run(
    made: tuple[Dataset, Path], cache: Path
) -> None:
    before = hashes(cache)
    break_row(cache, folders(cache)[0].name)
    assert hashes(cache) != before
    run.extract(made[0].videos, CONFIG, cache)
    assert hashes(cache) == before


def test_other_software_is_refused_before_anything_is_removed(cache: Path) -> None:
    path = folders(cache)[0].parent / "index.json"
    index = json.loads(path.read_bytes())
    index["settings"]["reference"] = "x0123abcd"
    path.write_text(json.dumps(index))
    before = hashes(cache)
    with pytest.raises(CacheError, match="x0123abcd there, r1 here"):
        repair.repair(folders(cache), CONFIG, cache, lambda _: None)
    assert hashes(cache) == before


def test_while_another_run_writes_there_nothing_is_removed(cache: Path) -> None:
    before = hashes(cache)
    with lock_cache(folders(cache)[0].parent), pytest.raises(CacheError, match="another run"):
        repair.repair([folders(cache)[0]], CONFIG, cache, lambda _: None)
    assert hashes(cache) == before
