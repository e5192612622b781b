"""The demo's dataset is FaceForensics++ in shape, and the demo ends with a detector that beats
chance by far.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from unmask.pipeline.demo.dataset import METHODS, DemoConfig, draw_dataset
from unmask.pipeline.sources.dataset import DRAWN_MARKER, SourceOptions
from unmask.pipeline.sources.registry import discover

ROOT = Path(__file__).parents[3]


def test_the_split_lists_are_pairs_of_disjoint_ids() -> None:
    pairs = DemoConfig().pairs
    ids = list(chain.from_iterable(chain.from_iterable(pairs.values())))
    assert len(ids) == len(set(ids)) and all(len(name) == 3 for name in ids)
    assert len(ids) * (1 + len(METHODS)) == DemoConfig().videos


def test_the_tree_reads_as_official_ffpp_with_masks(drawn: Path) -> None:
    found = discover("ffpp", drawn, SourceOptions(methods=tuple(METHODS)))
    assert len(found.videos) == 18 and not found.missing and not found.problems
    assert {v.split for v in found.videos} == {"train", "val", "test"}
    assert all(v.mask is not None and v.mask.exists() for v in found.videos if v.label == 1)
    assert json.loads((drawn / "train.json").read_text()) == [["000", "001"]]


def test_drawing_again_leaves_what_is_there(tmp_path: Path) -> None:
    small = DemoConfig(train_pairs=1, val_pairs=1, test_pairs=1, frames=6, width=160, height=120)
    assert len(list(draw_dataset(tmp_path, small))) == 18
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.mp4")}
    assert len(times) == 18 + 12
    assert len(list(draw_dataset(tmp_path, small))) == 18
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.mp4")} == times


def test_drawn_videos_go_under_their_own_name_by_whatever_road(tmp_path: Path) -> None:
    small = DemoConfig(train_pairs=1, val_pairs=1, test_pairs=1, frames=6, width=160, height=120)
    root = tmp_path / "around" / "FaceForensics++"
    list(draw_dataset(root, small))
    below = root / "sorted"
    for name, place in (("ffpp", root), ("ffpp", root.parent), ("folder", below)):
        options = SourceOptions(methods=tuple(METHODS) if name == "ffpp" else ())
        if name == "folder":
            for kind in ("real", "fake"):
                (below / kind).mkdir(parents=True)
                (below / kind / "a.mp4").write_bytes(b"x")
        found = discover(name, place, options)
        assert found.name == "drawn", (name, place)
        assert {video.dataset for video in found.videos} == {"drawn"}
        assert any("no verdict may rest" in note for note in found.notes)
    (root / DRAWN_MARKER).unlink()
    assert discover("ffpp", root, SourceOptions(methods=tuple(METHODS))).name == "ffpp"


@pytest.mark.slow
def test_the_whole_demo_reaches_video_auc_090_on_people_it_has_never_seen(tmp_path: Path) -> None:
    command = [sys.executable, "cli.py", "demo", "--out", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    metrics = json.loads(next(tmp_path.glob("run/evaluations/*/metrics.json")).read_text())
    assert metrics["levels"]["video"]["metrics"]["auc"]["value"] >= 0.9
    assert "not that the detector is good" in run.stdout
