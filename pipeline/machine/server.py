"""The server that worker processes are forked from: it has loaded their libraries once."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

# Read by the libraries when they load, so the server must have it: a worker that is forked from it
# cannot choose any more. A library that has started no threads also survives the fork.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def server(modules: Iterable[str]) -> ForkServerContext:
    """The context of the running server; it has imported `modules` if it was not running yet.

    It finds them where this process does. Of itself it would look into the working directory
    first, where a file of anybody's may be called what a library is called.
    Raises OSError or EOFError when no process starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with _environment({**ONE_THREAD, "PYTHONSAFEPATH": "1", "PYTHONPATH": path}):
        forkserver.ensure_running()
    return context


def main_is_repeatable() -> bool:
    """Whether a forked process may start: before its task it runs the parent's main script once
    more, under another name.

    Only a script with `if __name__ == "__main__"` stands that, and those have it whose `main` is
    unmask's. A notebook, `-c` and the `__main__.py` of a package, as of `python -m pytest`, are
    not run again.
    """
    main = sys.modules["__main__"]
    module = getattr(getattr(main, "__spec__", None), "name", None)
    if module is not None:
        return module.startswith("unmask.") or module.split(".")[-1] == "__main__"
    start = getattr(getattr(main, "main", None), "__module__", "")
    return start.startswith("unmask.") or getattr(main, "__file__", None) is None


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
