"""board: many scores files, many data sets, one table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from unmask.commands.numbers import SEED, Number
from unmask.pipeline.config import PERSON_RULES, PROTOCOL_NAMES, VIDEO_RULES
from unmask.pipeline.errors import EXIT_OK


@click.command(name="board")
@click.argument("scores", nargs=-1, required=True, metavar="[DETECTOR[#SEED][@SET]=]PATH...")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME=PATH",
    help="Scores shown beside, never ranked or tested: an audit's, a linear probe's. Repeat.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where board.html, board.json and every table as .md, .csv and .tex go.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOL_NAMES),
    help="Published numbers beside those that these files can answer.",
)
@click.option(
    "--video-rule",
    type=click.Choice(VIDEO_RULES),
    default="mean",
    show_default=True,
    help="How clips make a video's score.",
)
@click.option(
    "--person-rule",
    type=click.Choice(PERSON_RULES),
    default="max",
    show_default=True,
    help="How several persons do.",
)
@click.option(
    "--threshold", type=Number(0, 1), default=0.5, show_default=True, help="Of ACC: fake from here."
)
@click.option(
    "--false-alarms",
    type=Number(0, 1),
    default=0.05,
    show_default=True,
    help="Share of the reals that recall may accuse.",
)
@click.option(
    "--resamples",
    type=click.IntRange(0, 100_000),
    default=500,
    show_default=True,
    help="Of the EER's bootstrap; 0: no interval.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON instead of tables.")
def command(
    scores: tuple[str, ...],
    baselines: tuple[str, ...],
    out: Path | None,
    protocol: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Detectors side by side: AUC, ACC and EER with intervals, seeds, DeLong against the best with
    Holm's correction, recall by generator.

    \b
    PATH is a scores file of anybody, the folder of an evaluation, or a run with all of its own.
    unmask board runs/0001-clrnet-ffpp-c23 runs/0002-stil-ffpp-c23 --out board
    unmask board mine#1=a.csv mine#2=b.csv theirs@celebdf2=c.csv --baseline audit=audit.csv
    """
    from unmask.pipeline.evaluation.board import board_of
    from unmask.pipeline.evaluation.board_files import read_entries
    from unmask.pipeline.evaluation.board_page import caution_lines, tables_of, write_board
    from unmask.pipeline.evaluation.protocols import find_protocol
    from unmask.pipeline.reports.printable import printable
    from unmask.pipeline.reports.tables import terminal

    rules = options["video_rule"], options["person_rule"]
    entries = read_entries(scores, *rules)
    entries += read_entries(baselines, *rules, baseline=True)
    published = find_protocol(protocol) if protocol else None
    board = board_of(
        entries,
        threshold=options["threshold"],
        false_alarms=options["false_alarms"],
        resamples=options["resamples"],
        seed=options["seed"],
        protocol=published,
    )
    if as_json:
        click.echo(json.dumps(asdict(board), indent=1, allow_nan=False))
    else:
        for _, table in tables_of(board):
            click.echo(f"\n{table.title}\n{terminal(table)}")
        for caution in caution_lines(board):
            click.echo(f"caution: {printable(caution)}")
    if out is not None:
        line = "" if published is None else f"{published.source}. {published.note}"
        files = write_board(board, out, line)
        click.echo(f"\nboard: {files[0]}", err=as_json)
    return EXIT_OK
