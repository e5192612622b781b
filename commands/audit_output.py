"""The audit of a data set or manifest on the terminal: what `datasets --audit` and `manifest audit`
share.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.pipeline.errors import EXIT_OK, EXIT_REFUSED

if TYPE_CHECKING:
    from unmask.pipeline.shortcuts.signals import Signals


def run_audit(
    read: Callable[[Callable[[], None]], Signals],
    title: str,
    target: Path,
    *,
    permutations: int,
    boosting: bool,
    seed: int,
    strict: bool,
    scores: tuple[Path | None, Path | None, Path | None] = (None, None, None),
    manifest_sha256: str = "",
) -> int:
    """Read the signals, audit them, print and write what was found.

    scores: of the detector to be tested, after treating both classes alike, and of the placebo.
    """
    from tqdm import tqdm

    from unmask.pipeline.reports.printable import printable
    from unmask.pipeline.reports.tables import terminal
    from unmask.pipeline.scores.csv_file import read_scores
    from unmask.pipeline.scores.video_scores import video_scores
    from unmask.pipeline.shortcuts.page import audit_tables, audit_words, write_audit
    from unmask.pipeline.shortcuts.protocol import audit
    from unmask.pipeline.shortcuts.usage import usage_of

    with tqdm(unit="video", desc="signals", disable=not sys.stderr.isatty()) as bar:
        signals = read(bar.update)
    found = audit(signals, permutations=permutations, boosting=boosting, seed=seed)
    tables = [None if path is None else video_scores(read_scores(path)[0]) for path in scores]
    usage = None if tables[0] is None else usage_of(found, signals, tables[0], *tables[1:], seed)
    click.echo(f"{printable(title)}\n")
    for table in audit_tables(found, usage):
        click.echo(f"{table.title}\n{terminal(table)}\n")
    for line in audit_words(found, signals.unread):
        click.echo(printable(line))
    files = write_audit(found, signals, target, title, usage, manifest_sha256)
    click.echo(f"\ngrade: {found.grade}; page: {files[1]}")
    return EXIT_REFUSED if strict and found.grade == "broken" else EXIT_OK
