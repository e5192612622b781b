"""Batches filled ahead of their use by threads that help themselves to the work, in a fixed ring of
buffers.

Ours because handing each part to an executor kept the consuming thread busy under the interpreter's
lock: a sixth of the time that copying uncompressed clips takes. Here it only waits for the next
batch and gives its buffer back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Buffer, Item, Raw = TypeVar("Buffer"), TypeVar("Item"), TypeVar("Raw")


@dataclass
class _Filling(Generic[Buffer, Raw]):
    """One batch on its way: parts still to be filled, and what went wrong by part."""

    buffer: Buffer
    raw: Raw | None
    left: int
    faults: dict[int, BaseException] = field(default_factory=dict)


class ReadAhead(Generic[Buffer, Item, Raw]):
    """The batches of a plan in its order.

    begin: (free buffer, items of one batch) -> what will be handed out.
    fill: (that, rows) reads some of its rows.
    parts: every batch is cut into so many, which different threads may fill.
    """

    def __init__(
        self,
        begin: Callable[[Buffer, list[Item]], Raw],
        fill: Callable[[Raw, range], None],
        plan: Sequence[list[Item]],
        ring: Sequence[Buffer],
        parts: int,
    ) -> None:
        self._begin, self._fill, self._plan, self._parts = begin, fill, plan, parts
        lock = threading.Lock()
        self._filled, self._room = threading.Condition(lock), threading.Condition(lock)
        self._free, self._open = list(ring), deque[_Filling[Buffer, Raw]]()
        self._todo = deque[tuple[_Filling[Buffer, Raw], int, range]]()
        self._next, self._stopped = 0, False

    def work(self) -> None:
        """Fill part after part until the plan is done or `stop`; to be run by each thread."""
        while (task := self._take()) is not None:
            filling, part, rows = task
            try:
                self._fill(filling.raw, rows)
            except BaseException as fault:
                filling.faults[part] = fault
            with self._filled:
                filling.left -= 1
                if not filling.left:
                    self._filled.notify()

    def next(self) -> tuple[Buffer, Raw]:
        """The next batch of the plan, once it is filled. Raises what the first of its rows
        raised.
        """
        with self._filled:
            while not self._open or self._open[0].left:
                self._filled.wait()
            filling = self._open.popleft()
        if filling.faults:
            raise filling.faults[min(filling.faults)]
        return filling.buffer, filling.raw

    def give_back(self, buffer: Buffer) -> None:
        """The batch in this buffer is no longer needed."""
        with self._room:
            self._free.append(buffer)
            self._room.notify()

    def stop(self) -> None:
        """Let the threads end after the part they are at."""
        with self._room:
            self._stopped = True
            self._room.notify_all()

    def _take(self) -> tuple[_Filling[Buffer, Raw], int, range] | None:
        with self._room:
            while not self._stopped:
                if self._todo:
                    return self._todo.popleft()
                if self._next == len(self._plan):
                    return None
                if self._free:
                    self._open_next()
                else:
                    self._room.wait()
        return None

    def _open_next(self) -> None:
        items, buffer = self._plan[self._next], self._free.pop()
        self._next += 1
        step = max(1, -(-len(items) // self._parts))
        parts = [range(at, min(at + step, len(items))) for at in range(0, len(items), step)]
        try:
            filling = _Filling(buffer, self._begin(buffer, items), len(parts))
        except Exception as fault:
            self._open.append(_Filling(buffer, None, 0, {0: fault}))
            self._filled.notify()
            return
        self._open.append(filling)
        self._todo.extend((filling, number, rows) for number, rows in enumerate(parts))
        self._room.notify(len(parts) - 1)
