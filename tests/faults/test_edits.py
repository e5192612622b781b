"""Whatever happens to a tree of videos: extracting again gives what a fresh extraction gives, byte
for byte.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def edits(place: Path, sequences: int, edits: int, figure: Callable[[str, str], None]) -> None:
    words = [str(place), str(sequences), str(edits)]
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults.edits", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    result = json.loads(run.stdout.splitlines()[-1])
    figure("edited trees", ", ".join(f"{count} {what}" for what, count in result.items()))
    assert result["sequences"] == sequences and result["edits"] == sequences * edits
    assert result["ok"] >= 2 * sequences, "most videos must be worth comparing"
    assert result["different"] == 0, run.stderr[-3000:]


def test_an_edited_tree_extracted_again_equals_a_fresh_extraction(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    edits(tmp_path, 3, 4, figure)


@pytest.mark.slow
def test_300_edited_trees_equal_fresh_extractions(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    edits(tmp_path, 300, 6, figure)
