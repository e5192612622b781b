"""metrics: all numbers of a scores file, whoever made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.commands.numbers import SEED, Number
from unmask.pipeline.config import VIDEO_RULES
from unmask.pipeline.errors import EXIT_OK

if TYPE_CHECKING:
    from unmask.pipeline.scores.results import Result
    from unmask.pipeline.scores.table import Scores


@click.command(name="metrics")
@click.argument("scores", type=click.Path(path_type=Path), required=False)
@click.option(
    "--video-rule",
    type=click.Choice(VIDEO_RULES),
    default="mean",
    show_default=True,
    help="How clips make a video's score.",
)
@click.option(
    "--threshold",
    type=Number(0, 1),
    default=0.5,
    show_default=True,
    help="Fake from here on.",
)
@click.option(
    "--threshold-from",
    type=click.Path(path_type=Path),
    help="Validation scores that choose the threshold.",
)
@click.option(
    "--error",
    type=Number(0, 0.5),
    default=0.05,
    show_default=True,
    help="Share of each class that may get the wrong verdict, with --threshold-from.",
)
@click.option(
    "--resamples",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="0: no intervals.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON instead of tables.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Also write the page."
)
def command(scores: Path | None, **options: Any) -> int:
    """All metrics of SCORES.csv, with 95 % intervals over videos; without a file, what they mean.

    \b
    The file needs the columns video_id, label (0 real, 1 fake) and score (probability of fake), or
    logit. Several lines per video are its clips. dataset, method and compression give tables in
    parts.
    """
    if scores is None:
        list_metrics()
        return EXIT_OK
    from unmask.pipeline.scores import calibration
    from unmask.pipeline.scores.csv_file import read_scores
    from unmask.pipeline.scores.evaluate_scores import evaluate_scores
    from unmask.pipeline.scores.results import Options
    from unmask.pipeline.scores.video_scores import video_scores

    rows, sha256 = read_scores(scores)
    rule = options["video_rule"]
    fitted = None
    if options["threshold_from"]:
        validation, digest = read_scores(options["threshold_from"])
        joined = video_scores(validation, rule)
        fitted = calibration.fit_calibration(
            joined.label,
            joined.score,
            error=options["error"],
            source=str(options["threshold_from"]),
            sha256=digest,
        )
    settings = Options(rule, "max", options["threshold"], options["resamples"], options["seed"])
    result = evaluate_scores(rows, settings, calibration=fitted)
    if options["as_json"]:
        document = {"scores": str(scores), "sha256": sha256, **result.as_json()}
        click.echo(json.dumps(document, indent=1, allow_nan=False))
    else:
        show(result)
    if options["report"]:
        _report(options["report"], scores, sha256, result, video_scores(rows, rule))
    return EXIT_OK


def list_metrics() -> None:
    """Every metric, what it says, and which package brings it."""
    from unmask.pipeline.reports.printable import printable
    from unmask.pipeline.scores.metrics import known_metrics

    for metric in known_metrics().values():
        better = "less is better" if metric.lower_is_better else "more is better"
        click.echo(f"{metric.key:<16} {printable(f'{metric.name}: {metric.meaning}')}; {better}")
        click.echo(f"{'':<16} from {metric.origin}")


def show(result: Result, video_only: bool = False) -> None:
    """The tables of one evaluation on the terminal."""
    from unmask.pipeline.reports.honesty import honesty_lines, zone_lines
    from unmask.pipeline.reports.tables import levels_table, metrics_table, number, terminal
    from unmask.pipeline.scores.metrics import brief_keys

    levels = {"video": result.video} if video_only else result.levels
    for level, block in levels.items():
        sizes = block.sizes
        click.echo(f"{level}: n {sizes.n} ({sizes.real} real, {sizes.fake} fake)")
    click.echo()
    click.echo(terminal(levels_table(levels)))
    for line in honesty_lines(result.honesty):
        click.echo(line)
    notes = {m.note for block in levels.values() for m in block.metrics.values() if m.note}
    for note in sorted(notes):
        click.echo(f"note: {note}")
    for name, blocks in result.by.items():
        if len(blocks) > 1 or (name == "method" and set(blocks) - {"", "fake"}):
            table = metrics_table(name, blocks, name, brief_keys())
            click.echo(
                f"\nby {name}{' (against all reals)' if name == 'method' else ''}, video level"
            )
            click.echo(terminal(table))
    if result.calibrated is not None:
        found, block = result.calibrated, result.calibrated.block
        click.echo(
            f"\ncalibrated on {found.source!r}: temperature {found.temperature:.3f}, threshold "
            f"{found.threshold:.3f}, balanced ACC {number(block.measure('balanced_acc').value)}, "
            f"ECE {number(block.measure('ece').value)}{'; ' + found.note if found.note else ''}"
        )
        for line in zone_lines(found.unsure):
            click.echo(line)


def _report(path: Path, scores: Path, sha256: str, result: Result, joined: Scores) -> None:
    from unmask.pipeline.disk.files import write_whole
    from unmask.pipeline.evaluation.page import Extras, evaluation_page
    from unmask.pipeline.reports.plots import pictures_of
    from unmask.pipeline.scores.evaluation_folder import cautions_beside

    provenance = [("Scores file", [("file", str(scores)), ("sha256", sha256)])]
    extras = Extras(
        pictures=pictures_of(result, joined),
        provenance=provenance,
        cautions=cautions_beside(scores),
    )
    page = evaluation_page(f"Metrics of {scores.name}", "scores made elsewhere", result, extras)
    write_whole(path, page.encode())
    click.echo(f"\nreport: {path}", err=True)
