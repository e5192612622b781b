"""The server that worker processes are forked from: it has loaded their libraries once."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def server(modules: Iterable[str]) -> ForkServerContext:
    """The context of the running server; it has imported `modules` if it was not running yet.

    It finds them where this process does. Of itself it would look into the working directory
    first, where a file of anybody's may be called what a library is called.
    Raises OSError or EOFError when no process starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with _environment({"PYTHONSAFEPATH": "1", "PYTHONPATH": path}):
        forkserver.ensure_running()
    return context


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
