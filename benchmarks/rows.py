"""What a benchmark reports: rows of a table, and pairs of runs measured in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Row(NamedTuple):
    """measured: a ratio of best times unless `what` says otherwise.

    target: at least, or `most`; 0 states only.
    """

    what: str
    against: str
    measured: float
    target: float
    note: str = ""
    most: bool = False

    @property
    def met(self) -> bool:
        return not self.target or (
            self.measured <= self.target if self.most else self.measured >= self.target
        )


@dataclass(frozen=True)
class Seconds:
    """Best of one run's rounds: wall clock, and CPU time of this process."""

    wall: float
    cpu: float


def alternate(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    """Time the runs in turn, so that a slow minute of the machine meets all of them, and keep the
    best of each.

    On a shared machine others only ever add time: medians of three rounds moved by 15 % from call
    to call.
    """
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            wall_before, cpu_before = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - wall_before)
            cpu[name].append(time.process_time() - cpu_before)
    return {name: Seconds(min(wall[name]), min(cpu[name])) for name in runs}


def text_table(rows: Iterable[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def load() -> float:
    """Processes that wanted a core over the last minute."""
    return os.getloadavg()[0]
