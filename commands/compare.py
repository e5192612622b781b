"""compare: is run A better than run B on the same videos?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from unmask.commands.numbers import SEED, Number
from unmask.pipeline.config import VIDEO_RULES
from unmask.pipeline.errors import EXIT_OK, UsageError


@click.command(name="compare")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--on", metavar="NAME", help="Which evaluation of the two runs.  [default: the one both have]"
)
@click.option(
    "--video-rule",
    type=click.Choice(VIDEO_RULES),
    default="mean",
    show_default=True,
)
@click.option("--threshold", type=Number(0, 1), default=0.5, show_default=True)
@click.option("--resamples", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON instead of a table.")
def command(first: Path, second: Path, on: str | None, **options: Any) -> int:
    """DeLong's test and paired bootstrap intervals for two detectors on the same videos.

    FIRST and SECOND are runs that were evaluated, evaluation folders, or scores files of anybody.
    Only videos that both have are compared; the difference is second minus first.
    """
    from unmask.pipeline.evaluation.comparison import compare
    from unmask.pipeline.reports.printable import printable
    from unmask.pipeline.reports.tables import terminal
    from unmask.pipeline.scores.csv_file import read_scores
    from unmask.pipeline.scores.evaluation_folder import cautions_beside

    files = scores_files(first, second, on)
    (a, _), (b, _) = (read_scores(file) for file in files)
    found = compare(
        a,
        b,
        rule=options["video_rule"],
        threshold=options["threshold"],
        resamples=options["resamples"],
        seed=options["seed"],
    )
    if options["as_json"]:
        rows = {row[0]: [cell.as_json() for cell in row[1:]] for row in found.table.rows}
        document = {
            "files": [str(file) for file in files],
            "cautions": [cautions_beside(file) for file in files],
            "delong": asdict(found.auc),
            "metrics": rows,
        }
        click.echo(
            json.dumps(
                {**document, "left_out": found.left_out, "sizes": asdict(found.sizes)},
                indent=1,
                allow_nan=False,
            )
        )
        return EXIT_OK
    for letter, file in zip("AB", files, strict=True):
        click.echo(f"{letter}: {str(file)!r}")
        for caution in cautions_beside(file):
            click.echo(f"   caution: {printable(caution)}")
    click.echo(f"{found.sizes.n} videos in both ({found.sizes.real} real, {found.sizes.fake} fake)")
    if any(found.left_out):
        click.echo(f"left out: {found.left_out[0]} only in A, {found.left_out[1]} only in B")
    click.echo("\n" + terminal(found.table) + "\n\n" + found.verdict)
    return EXIT_OK


def scores_files(first: Path, second: Path, on: str | None) -> tuple[Path, Path]:
    """The two scores files that are meant. Raises UsageError naming what is there."""
    from unmask.pipeline.scores.evaluation_folder import FOLDER, SCORES

    plain = [path / SCORES if (path / SCORES).is_file() else path for path in (first, second)]
    runs = [path for path in plain if path.is_dir()]
    names = [{found.parent.name for found in run.glob(f"{FOLDER}/[!.]*/{SCORES}")} for run in runs]
    for run, held in zip(runs, names, strict=True):
        if not held:
            raise UsageError(f"{run}: no evaluation in it; run `unmask evaluate --run {run}` first")
    if not runs:
        return plain[0], plain[1]
    common = set.intersection(*names)
    if on is None and len(common) == 1:
        on = common.pop()
    if on is None or on not in set.intersection(*names):
        each = "; ".join(
            f"{run} has {', '.join(sorted(held))}" for run, held in zip(runs, names, strict=True)
        )
        raise UsageError(f"name the evaluation to compare with --on: {each}")
    files = [path / FOLDER / on / SCORES if path.is_dir() else path for path in plain]
    return files[0], files[1]
