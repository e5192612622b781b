"""runs: what was trained, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.reports.printable import printable

COLUMNS = {
    "run": "run",
    "model": "model",
    "recipe": "recipe",
    "seed": "seed",
    "epochs": "epochs",
    "steps": "steps",
    "loss": "last loss",
    "auc": "best val AUC",
    "best_epoch": "at epoch",
    "clips_per_second": "clips/s",
    "wait": "waiting",
    "device": "device",
}


@click.command(name="runs")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default="runs",
    show_default=True,
    help="Folder of runs.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, one object a run.")
def command(runs: Path, as_json: bool) -> None:
    """A table of all training runs, newest first, and what runs that differ by their seed only come
    to together; AUC is of the videos of the validation manifest.
    """
    from unmask.pipeline.runs.newest import list_runs
    from unmask.pipeline.runs.summary import summary

    folders = list_runs(runs)
    if not folders:
        raise UsageError(
            f"{runs}: no training run here; train first, or name the folder with --runs"
        )
    rows = []
    for folder in folders:
        try:
            rows.append(summary(folder))
        except CheckpointError as error:
            rows.append({"run": folder.name, "damaged": printable(str(error), 1000)})
            click.echo(f"runs: {printable(str(error), 1000)}", err=True)
    together = _over_seeds(folders, rows)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    cells = [
        list(COLUMNS.values()),
        *([_cell(name, row) for name in COLUMNS] for row in rows),
    ]
    widths = [max(len(line[place]) for line in cells) for place in range(len(COLUMNS))]
    for line in cells:
        click.echo(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )
    for line in together:
        click.echo(line)


def _over_seeds(folders: list[Path], rows: list[dict[str, Any]]) -> list[str]:
    """A line for every experiment of several seeds, and `over_seeds` into the rows of its runs."""
    from unmask.pipeline.runs.seeds import by_experiment
    from unmask.pipeline.scores.spread import spread

    by_name = {row["run"]: row for row in rows}
    lines = []
    for group in by_experiment(folders):
        own = [by_name[run.folder.name] for run in group]
        areas = [row["auc"] for row in own if row.get("auc") is not None]
        if len(group) < 2 or not areas:
            continue
        found = spread(areas)
        for row in own:
            row["over_seeds"] = {"auc": found.mean, "sd": found.sd, "runs": found.runs}
        seeds = ", ".join(str(seed) for seed in sorted(run.config.seed for run in group))
        words = printable(f"{group[0].model} {group[0].config.recipe}, seeds {seeds}")
        lines.append(f"{words}: best val AUC {found} over {found.runs}")
    return lines


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row.get(name)
    if name == "model" and "damaged" in row:
        return "damaged"
    if value is None:
        return "-"
    if name == "wait":
        return f"{100 * value:.1f} %"
    if name == "clips_per_second":
        return f"{value:.1f}"
    return f"{value:.4f}" if isinstance(value, float) else printable(str(value))
