"""Tasks that talk while they work: items go to worker processes, what is said of each comes back
at once.

Unlike isolation.py (one result an item, in order) an item may be slow without holding up the
others, and says its result before it is finished with everything else. Each worker is a process of
its own on its own pipe, so the parent knows what each is working on: one that dies or falls silent
costs its item, and nobody else anything. Workers are forked from a server that has imported what
the task needs and does nothing else, so that one more costs little.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Generic, Protocol, TypeVar

from unmask.pipeline.errors import PipelineError
from unmask.pipeline.machine.isolation import Crash
from unmask.pipeline.machine.memory import is_memory_error
from unmask.pipeline.machine.server import server

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Say = Callable[[object], None]

# Seconds for a process to load its libraries and a model on a busy machine; after that `seconds`
# counts.
START = 300.0

# Ctrl-C and SIGTERM, which reach a whole process group, are the parent's to answer.
STOPS = {signal.SIGINT, signal.SIGTERM}


class Task(Protocol[Item]):
    """What a worker does; it is sent to the worker as it is, so it holds settings and nothing else.

    modules: what is imported once, before any worker is forked.
    start: once per worker, before its first item; what it returns is heard first.
    __call__: one item; each `say(value)` is heard at once and gives it `seconds` more.
    """

    modules: tuple[str, ...]

    def start(self) -> object: ...
    def __call__(self, item: Item, say: Say) -> None: ...


def listen(
    task: Task[Item], items: Iterable[Item], *, workers: int, seconds: float
) -> Iterator[tuple[Item | None, object]]:
    """(item, what was said of it) as it is said; (None, what start returned) of the first worker.

    seconds: silence after which a worker is ended.
    The last thing said of an item whose worker died, fell silent, ran out of memory or into a
    fault is a Crash. All workers are gone when the iterator ends, however it ends.
    Raises PipelineError that a worker raises, and when one ends before it could begin.
    """
    todo, crew, heard = deque(items), list[_Worker[Item]](), False
    try:
        while len(crew) < min(workers, len(todo)):
            crew.append(_Worker(task, seconds))
        while crew:
            left = max(0.0, min(worker.deadline for worker in crew) - time.monotonic())
            speaking = wait([worker.pipe for worker in crew], timeout=left)
            for worker in list(crew):
                said = worker.hear() if worker.pipe in speaking else worker.silence()
                if said is None:
                    continue
                kind, value = said
                if kind == "raised":
                    raise value
                about = worker.item
                if kind == "gone":
                    crew.remove(worker)
                    if todo:
                        crew.append(_Worker(task, seconds))
                elif kind != "said" and not worker.give(todo):
                    crew.remove(worker)
                    worker.end()
                # Told last: the next item is under way while the listener does something with it.
                if kind == "ready" and not heard:
                    heard = True
                    yield None, value
                elif kind == "said" or isinstance(value, Crash):
                    yield about, value
    finally:
        for worker in crew:
            worker.end()


class _Worker(Generic[Item]):
    """One process, its pipe, and what it is working on."""

    def __init__(self, task: Task[Item], seconds: float) -> None:
        self.seconds = seconds
        self.item: Item | None = None
        self.ready = False
        try:
            with _without_stops():
                context = server(task.modules)
                self.pipe, theirs = context.Pipe()
                self.process = context.Process(target=_work, args=(task, theirs), daemon=True)
                self.process.start()
        except (OSError, EOFError) as error:
            raise PipelineError(
                f"no worker process starts ({error or 'its server ended'}); `unmask doctor` looks "
                "for the usual causes"
            ) from error
        theirs.close()
        self.deadline = time.monotonic() + max(START, seconds)

    def hear(self) -> tuple[str, object]:
        """(kind, value) of its next message; "gone" when it died."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return "gone", self._death()
        self.deadline = time.monotonic() + self.seconds
        self.ready = True
        return kind, value

    def silence(self) -> tuple[str, object] | None:
        """None while it still has time; else it is ended."""
        if time.monotonic() < self.deadline:
            return None
        self.process.kill()
        self._death()
        return "gone", Crash("timeout", f"stopped by the watchdog after {self.seconds:g} s")

    def _death(self) -> Crash:
        self.process.join(5)
        code = self.process.exitcode
        self.end()
        if not self.ready:
            raise PipelineError(
                f"a worker process ended before it could begin ({_name(code)}); what it said is "
                "above, `unmask doctor` looks for the usual causes (memory limit, broken libraries)"
            )
        if code == -signal.SIGKILL:
            killed = "the worker was killed (SIGKILL), as the system does when memory runs out"
            return Crash("out_of_memory", killed)
        return Crash("decoder_crash", f"the worker process ended ({_name(code)})")

    def give(self, todo: deque[Item]) -> bool:
        """Hand it its next item; False when none is left."""
        self.item = todo.popleft() if todo else None
        if self.item is None:
            return False
        with suppress(OSError):  # it died between two items: heard of with the next message
            self.pipe.send(self.item)
        self.deadline = time.monotonic() + self.seconds
        return True

    def end(self) -> None:
        self.process.kill()
        self.process.join(5)
        self.pipe.close()


def _name(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


@contextmanager
def _without_stops() -> Iterator[None]:
    """Processes started meanwhile never hear them, not even while they load; this one does
    afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(task: Task[Item], pipe: Connection) -> None:
    """The worker's life: start, then item after item until the parent lets go of the pipe."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # the server may be somebody else's
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        pipe.send(("ready", task.start()))
        while True:
            item = pipe.recv()
            crash = None
            try:
                task(item, lambda value: pipe.send(("said", value)))
            except (PipelineError, ConnectionError):
                raise
            except Exception as error:
                reason = "out_of_memory" if is_memory_error(error) else "internal_error"
                if reason == "internal_error":
                    log.error("a fault of unmask, please report it", exc_info=error)
                crash = Crash(reason, f"{type(error).__name__}: {error}".partition("\n")[0][:300])
            pipe.send(("done", crash))
    except PipelineError as error:
        pipe.send(("raised", error))
    except (EOFError, ConnectionError):
        return


def _die_with_parent() -> None:
    """A worker that outlives a killed parent would go on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
