"""Numbers on the command line: what every option that takes one refuses before any work is done."""

from __future__ import annotations

import math
import os
from typing import Any

import click


class Number(click.FloatRange):
    """A number between bounds; "nan" and "inf", which Python reads as numbers too, are none."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Jobs(click.IntRange):
    """Worker processes: 3 is three, -1 one for each core, -2 one less, as long as one is left."""

    name = "jobs"

    def __init__(self) -> None:
        super().__init__(max=4096)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        count = super().convert(value, param, ctx)
        cores = len(os.sched_getaffinity(0))
        if count == 0 or cores + 1 + count < 1:
            self.fail(
                f"{count} leaves no process to do the work; take 1 or more, or -1 for one on each "
                f"of {cores} cores",
                param,
                ctx,
            )
        return count


JOBS = Jobs()
# What numpy, torch and the standard library all take as a seed.
SEED = click.IntRange(0, 2**32 - 1)
