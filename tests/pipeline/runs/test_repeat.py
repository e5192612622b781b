"""A run goes on, or is repeated, from any folder, and with nothing changed that it learnt from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.runs.repeat import go_on, repeat
from unmask.pipeline.runs.run_folder import open_run, write_run

FACTS = {"manifest": {"sha256": "abc"}, "val": None, "recipe": {"lr": 0.5, "epochs": 9}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder in which a run was trained, its paths given as seen from there."""
    root = tmp_path / "project"
    (root / "lists").mkdir(parents=True)
    (root / "cache").mkdir()
    (root / "lists" / "train.txt").write_text("")
    (root / "runs" / "one").mkdir(parents=True)
    monkeypatch.chdir(root)
    config = TrainConfig(manifest="lists/train.txt", cache="cache", recipe="short", seed=3)
    write_run(Path("runs/one"), config, FACTS)
    return root


def test_going_on_keeps_all_but_what_is_free(home: Path) -> None:
    again = go_on(Path("runs/one"), {"threads": 7, "epochs": 20})
    assert again.expected == {"manifest": "abc"}
    assert (again.config.threads, again.config.seed, again.config.recipe) == (7, 3, "short")
    assert again.config.overrides == {"epochs": 20}
    with pytest.raises(UsageError, match="settings of runs/one; leave out --seed"):
        go_on(Path("runs/one"), {"seed": 4})


def test_repeating_pins_every_value_of_the_recipe(home: Path) -> None:
    for path in (Path("runs/one"), Path("runs/one/run.json")):
        again = repeat(path, {"epochs": 2})
        assert again.config.overrides == {"lr": 0.5, "epochs": 2}
    with pytest.raises(UsageError, match="repeats a run as it was; leave out --all-clips"):
        repeat(Path("runs/one"), {"all_clips": True})


def test_paths_lead_where_they_led_from_any_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_run(Path("runs/one")).config.manifest == "lists/train.txt"
    monkeypatch.chdir(tmp_path)
    config = open_run(Path("project/runs/one")).config
    assert Path(config.manifest).samefile(home / "lists" / "train.txt")
    assert Path(config.cache).samefile(home / "cache")
    other = tmp_path / "other"
    (other / "lists").mkdir(parents=True)
    (other / "lists" / "train.txt").write_text("another list of the same name")
    monkeypatch.chdir(other)
    config = open_run(Path("../project/runs/one")).config
    assert Path(config.manifest).samefile(home / "lists" / "train.txt")


def test_a_project_that_was_moved_takes_its_paths_along(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    config = open_run(Path("moved/runs/one")).config
    assert Path(config.manifest).samefile(tmp_path / "moved" / "lists" / "train.txt")


def test_a_run_alone_keeps_the_paths_as_given_and_takes_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "runs" / "one").rename(tmp_path / "alone")
    monkeypatch.chdir(tmp_path)
    assert open_run(Path("alone")).config.manifest == "lists/train.txt"
    again = go_on(Path("alone"), {"manifest": Path("project/lists/train.txt"), "cache": "c"})
    assert (again.config.manifest, again.config.cache) == ("project/lists/train.txt", "c")


@pytest.mark.parametrize("places", [None, 5, {"manifest": 5}, {"cache": None}, {"manifest": "x"}])
def test_runs_without_places_or_with_odd_ones_are_read_as_before(
    home: Path, places: object
) -> None:
    path = home / "runs" / "one" / "run.json"
    document = json.loads(path.read_text())
    document["places"] = places
    path.write_text(json.dumps(document))
    assert open_run(Path("runs/one")).config.manifest == "lists/train.txt"
