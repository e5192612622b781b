"""The server of workers loads what this process would load, and nothing that lies about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

SCRIPT = """
import os, sys
sys.path[:0] = [{root!r}, {here!r}]
from unmask.pipeline.machine.server import server

if __name__ == "__main__":
    before = dict(os.environ)
    context = server(["colorsys", "only_here"])
    assert dict(os.environ) == before
    worker = context.Process(target=print, args=("forked",))
    worker.start()
    worker.join()
"""


def test_it_finds_modules_where_its_parent_does_and_not_in_the_working_directory(
    tmp_path: Path,
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "only_here.py").write_text("print('only_here was loaded', flush=True)")
    # a name of the standard library, as a stranger's folder may hold it
    (elsewhere / "colorsys.py").write_text("print('the wrong one was loaded', flush=True)")
    (here / "script.py").write_text(SCRIPT.format(root=str(ROOT), here=str(here)))
    command = [sys.executable, str(here / "script.py")]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["only_here was loaded", "forked"]
