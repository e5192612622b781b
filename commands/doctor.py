"""doctor: the usual traps on this machine, with the remedy for each."""

from __future__ import annotations

from pathlib import Path

import click

from unmask.pipeline.errors import EXIT_OK, EXIT_SOME_FAILED

MARKS = {"ok": ("ok  ", "green"), "warn": ("look", "yellow"), "fail": ("FAIL", "red")}


@click.command(name="doctor")
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
def command(cache: Path) -> int:
    """Look at versions, decoders, device, space, locks and cache; say what to do about each trap.

    Exit code 3 when something must be mended first.
    """
    from unmask.pipeline.doctor import examine

    worst = EXIT_OK
    for finding in examine(cache):
        mark, colour = MARKS[finding.state]
        click.echo(f"{click.style(mark, fg=colour)}  {finding.name:<14} {finding.seen}")
        if finding.remedy:
            click.echo(f"{'':<21}-> {finding.remedy}")
        if finding.state == "fail":
            worst = EXIT_SOME_FAILED
    return worst
