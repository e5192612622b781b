"""The server of workers loads what this process would load, and nothing that lies about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


UNGUARDED = """
import os
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.machine.worker_pool import stop_workers, worker_pool

print("started", flush=True)
pool = worker_pool(1, ExtractConfig())
print(pool.submit(os.getenv, "PYTHONPATH").result() == os.environ["PYTHONPATH"], flush=True)
stop_workers()
os.environ["SAID_LATE"] = "heard"
pool = worker_pool(1, ExtractConfig())
print(pool.submit(os.getenv, "SAID_LATE").result(), pool.submit(os.getppid).result() == os.getpid())
stop_workers()
"""
# how it is started -> whether the worker is this process's own child, not the server's
WAYS = {"job.py": True, "-m job": True, "-m part": False, "-c": False}


SLOW = {"job.py", "-m part"}


@pytest.mark.parametrize(
    "way", [pytest.param(w, marks=[pytest.mark.slow] if w in SLOW else []) for w in WAYS]
)
def test_a_program_without_a_guarded_main_runs_once_and_its_workers_have_its_environment(
    way: str, tmp_path: Path
) -> None:
    (tmp_path / "part").mkdir()
    for name in ("job.py", "part/__main__.py"):
        (tmp_path / name).write_text(UNGUARDED)
    words = ["-c", UNGUARDED] if way == "-c" else way.split()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines() == ["started", "True", f"heard {WAYS[way]}"], done.stderr


THREADS = """
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.machine.worker_pool import stop_workers, worker_pool
import threadpoolctl
pool = worker_pool(1, ExtractConfig(), ["scipy.linalg", "numpy"])
known = pool.submit(threadpoolctl.threadpool_info).result()
print(*{library["num_threads"] for library in known})
stop_workers()
"""


def test_the_libraries_of_a_forked_worker_have_one_thread_each() -> None:
    free = {name: text for name, text in os.environ.items() if not name.endswith("_THREADS")}
    command = [sys.executable, "-c", THREADS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=free)
    assert done.stdout.split() == ["1"], done.stderr
