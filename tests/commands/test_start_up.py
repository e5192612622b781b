"""Commands that look at small files start at once: nothing heavy is imported to show a table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_cache import make_cache
from tests.support.tiny_run import make_run

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("timm", "torch._dynamo", "matplotlib")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a cache, a manifest and a scores file for the commands to look at."""
    root = tmp_path_factory.mktemp("start")
    cache, manifests = make_cache(root, {"train": 2})
    make_run(root / "runs" / "0001-clrnet", cache, manifests / "train.txt")
    (root / "scores.csv").write_text("video_id,label,score\na,0,0.25\nb,1,0.75\n")
    return root


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("runs", "--runs", "runs"),
        ("metrics", "scores.csv", "--resamples", "20"),
        ("manifest", "check", "manifests/tiny/train.txt", "--cache", "cache"),
        ("datasets",),
        ("datasets", "ffpp"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_table_imports_neither_timm_nor_the_compiler_nor_matplotlib(words, folder):
    code = (
        "import os, sys; from unmask.commands.main import main; os.chdir(sys.argv[1]); "
        f"code = main(sys.argv[2:]); print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder, *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


@pytest.mark.parametrize("words", [("models",), ("datasets",)], ids=lambda words: words[0])
def test_what_is_written_in_the_sources_is_shown_without_torch(words):
    code = (
        "import sys; from unmask.commands.main import main; code = main(sys.argv[1:]); "
        "print(code, [m for m in ('torch', 'av', 'zarr', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


@pytest.mark.parametrize(
    ("place", "said"),
    [("none", "unmask ships none"), ("begun", "no run here has a checkpoint")],
)
def test_predict_looks_for_a_run_without_torch(place, said, tmp_path):
    """Only its workers load a model; `predict` without --run looks at names."""
    (tmp_path / "none").mkdir()
    (tmp_path / "begun" / "runs" / "0001-x").mkdir(parents=True)
    (tmp_path / "begun" / "runs" / "0001-x" / "run.json").write_text("{}")
    code = (
        "import os, sys; from unmask.commands.main import main; os.chdir(sys.argv[1]); "
        "code = main(['predict', 'x.mp4']); import unmask.pipeline.prediction.answers; "
        "print(code, [m for m in ('torch', 'av', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / place], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "2 []" and said in done.stderr, done.stderr


def test_help_takes_less_than_a_fifth_of_a_second_of_processor_time():
    spent = []
    for _ in range(5):  # the least disturbed of five, on a machine that others use too
        before = os.times()
        subprocess.run([sys.executable, "cli.py", "--help"], cwd=ROOT, check=True, stdout=-3)
        after = os.times()
        spent.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(spent) < 0.2, spent
