"""`import unmask` is the library: quick to import, complete, documented, and what the README shows
works as it stands there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unmask
from tests.support.small_videos import commit, pictures
from unmask.pipeline.errors import CacheError

ROOT = Path(__file__).parent.parent
FAKES = "manipulated_sequences/Deepfakes"
HEAVY = ("torch", "numpy", "av", "zarr", "cv2", "sklearn", "pandas", "click")


def python(code: str) -> str:
    """What a fresh interpreter prints; it finds this checkout and nothing else of ours."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout.strip()


def test_importing_the_library_takes_no_time_and_loads_nothing_heavy() -> None:
    code = (
        "import time; start = time.process_time(); import unmask, sys; "
        f"print([m for m in {HEAVY} if m in sys.modules], time.process_time() - start < 0.3)"
    )
    assert python(code) == "[] True"


def test_every_name_is_there_and_comes_from_the_module_that_type_checkers_see() -> None:
    tree = ast.parse((ROOT / "unmask" / "__init__.py").read_text())
    checked = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == unmask._HOMES
    for name, module in checked.items():
        assert getattr(unmask, name) is getattr(importlib.import_module(module), name)
        assert name in dir(unmask)
    assert re.fullmatch(r"\d+\.\d+.*", unmask.__version__)


def test_a_name_that_does_not_exist_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_vidoe'"):
        unmask.open_vidoe  # noqa: B018


@pytest.mark.parametrize("name", sorted(unmask._HOMES))
def test_every_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(unmask, name)
    text = inspect.getdoc(value) or ""
    assert len(text) > 40 and not text.startswith(f"{name}("), f"{name}: {text!r}"


def test_a_cached_video_gives_arrays_and_typed_attributes(tmp_path: Path) -> None:
    pixels = pictures()
    folder = commit(tmp_path, pixels=pixels, attributes={"label": 1, "video_id": "000_003"})
    video = unmask.open_video(folder)
    clips, frames = pixels.shape[:2]
    np.testing.assert_array_equal(video.read_crops(), pixels)
    stored = video.attributes
    assert (video.label, video.video_id) == (1, "000_003")
    for value, shape, kind, field in (
        (video.frame_numbers, (clips, frames), np.int64, "index"),
        (video.times, (clips, frames), np.float64, "pts"),
        (video.boxes, (clips, 4), np.float32, "box"),
        (video.landmarks, (clips, 5, 2), np.float32, "landmark"),
        (video.confidence, (clips,), np.float32, "prob"),
        (video.transforms, (clips, 2, 3), np.float32, "transform"),
    ):
        assert value.shape == shape and value.dtype == kind
        np.testing.assert_array_equal(value, np.array(stored[field], kind))


def test_an_attribute_that_was_not_stored_is_named_with_its_folder(tmp_path: Path) -> None:
    video = unmask.open_video(commit(tmp_path))
    with pytest.raises(CacheError, match="000_003: was stored without 'file'"):
        video.source  # noqa: B018


def test_scores_become_a_data_frame_with_gaps_where_nothing_was_said(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "scores.csv"
    path.write_text("video_id,label,score,clip\na,0,0.25,0\na,0,0.5,1\nb,1,0.875,0\n")
    scores, _ = unmask.read_scores(path)
    frame = scores.to_pandas()
    ours = pandas.read_csv(path)
    for column in ours.columns:
        assert frame[column].tolist() == ours[column].tolist()
    assert frame["frame"].isna().all() and frame["clip"].dtype == "Int64"
    assert unmask.video_scores(scores).to_pandas()["score"].tolist() == [0.375, 0.875]


def test_without_pandas_a_data_frame_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(unmask.PipelineError, match=r"install unmask\[pandas\]"):
        unmask.scores_table(video_id=["a"], label=[0], score=[0.5]).to_pandas()


def notebook() -> str:
    """The Python block of the README's section "In a notebook"."""
    section = (ROOT / "README.md").read_text().partition("## In a notebook")[2]
    return re.search(r"```python\n(.*?)```", section, re.S)[1]


def test_the_readmes_notebook_goes_from_videos_to_a_data_frame(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    for split in ("train", "test"):
        people = [
            name for pair in json.loads((drawn / f"{split}.json").read_text()) for name in pair
        ]
        for label, tree in (("real", "original_sequences/youtube"), ("fake", FAKES)):
            folder = tmp_path / "videos" / split / label
            folder.mkdir(parents=True)
            for path in (drawn / tree / "c23" / "videos").glob("*.mp4"):
                if path.stem[:3] in people:
                    (folder / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(notebook(), "README.md", "exec"), names)
    frame = names["frame"]
    assert sorted(frame["label"]) == [0, 0, 1, 1] and frame["video_id"].is_unique
    assert frame["score"].between(0, 1).all() and names["video"].label in (0, 1)
