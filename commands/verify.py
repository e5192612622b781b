"""verify: every byte of a cache, and --repair for what is damaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from unmask.commands.numbers import JOBS
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.errors import EXIT_OK, EXIT_REFUSED, EXIT_SOME_FAILED, CacheError
from unmask.pipeline.reports.printable import printable

SHOWN = 20  # missing videos, and damaged rows, that are named


@click.command(name="verify")
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="features",
    show_default=True,
    help="Root of the features, checked too where it is there.",
)
@click.option("--dataset", help="Only this one; all by default.")
@click.option(
    "--repair", is_flag=True, help="Make damaged and missing videos again from their source files."
)
@click.option(
    "--jobs",
    type=JOBS,
    default=ExtractConfig().jobs,
    show_default=True,
    help="Worker processes of a repair.",
)
def command(cache: Path, store: Path, dataset: str | None, repair: bool, jobs: int) -> int:
    """Check every byte of every cached video and of its features against its digests, and that
    none is missing.

    Exit code 0: all whole (or all repaired); 4: damaged or missing videos, named; 3: some could
    not be made again.
    """
    from unmask.pipeline.cache import check

    parents = check.cache_folders(cache, dataset)
    folders = [folder for parent in parents for folder in check.video_folders(parent)]
    damaged = []
    with tqdm(
        total=len(folders), unit="video", disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:
        for checked in check.check(folders):
            bar.update()
            if checked.problems:
                damaged.append(checked)
                bar.set_postfix(damaged=len(damaged))
    for checked in damaged:
        click.echo(printable(f"{checked.folder}: {'; '.join(checked.problems[:3])}", 1000))
    missing, without_index = _missing(parents)
    counts = f"{len(folders) - len(damaged):,} whole, {len(damaged):,} damaged"
    if missing:
        counts += f", {len(missing):,} missing (lost, or extract was stopped before it made them)"
    click.echo(f"verify: {counts}")
    bad = [*(checked.folder for checked in damaged), *missing]
    bad_features = _bad_features(store, dataset) if store.is_dir() else []
    if repair and not bad:
        from unmask.pipeline.extraction import repair as crops

        crops.tidy(parents)
    if repair and not bad_features and store.is_dir():
        from unmask.pipeline.features import repair as features

        features.tidy(store, dataset)
    if not bad and not bad_features:
        return EXIT_REFUSED if without_index else EXIT_OK
    if not repair:
        click.echo("run the same command with --repair to make exactly these again")
        return EXIT_REFUSED
    codes = [_repair(bad, jobs, cache)] if bad else []
    codes += [_repair_features(bad_features, store, cache)] if bad_features else []
    return EXIT_REFUSED if without_index else max(codes)


def _bad_features(store: Path, dataset: str | None) -> list[Path]:
    """Groups of features that are damaged or missing, each named on a line of its own."""
    from unmask.pipeline.features.repair import damaged

    whole, bad = damaged(store, dataset)
    for folder, why in bad[:SHOWN]:
        click.echo(printable(f"{folder}: {why}", 1000))
    if len(bad) > SHOWN:
        click.echo(f"... and {len(bad) - SHOWN:,} more features")
    click.echo(f"verify: features: {whole:,} whole, {len(bad):,} damaged or missing")
    return [folder for folder, _ in bad]


def _repair_features(bad: list[Path], store: Path, cache: Path) -> int:
    from unmask.pipeline.features.compute import Call
    from unmask.pipeline.features.repair import repair

    ended = repair(bad, Call(cache, store))
    failed = [outcome for outcome in ended if outcome.status != "ok"]
    for outcome in failed:
        click.echo(f"  {outcome.video_id}: {outcome.reason}  {printable(outcome.detail, 300)}")
    click.echo(
        f"repair: features: {len(ended) - len(failed):,} made again, {len(failed):,} could not be"
    )
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _missing(parents: list[Path]) -> tuple[list[Path], bool]:
    """Groups that must be there and are not, and whether an index, or a row of one, cannot be
    read.
    """
    from unmask.pipeline.cache import check

    missing, without_index = [], False
    for parent in parents:
        try:
            missing += check.missing_videos(parent)
            rows = check.damaged_rows(parent)
        except CacheError as error:
            without_index = True
            click.echo(printable(f"{error}; what must be there is not known", 1000))
            continue
        without_index |= bool(rows)
        for line in rows[:SHOWN]:
            click.echo(printable(line, 1000))
        if rows:
            click.echo(f"{len(rows):,} damaged rows of this index; extract writes them again")
    for folder in missing[:SHOWN]:
        click.echo(printable(f"{folder}: missing, though its index or outcome names it", 1000))
    if len(missing) > SHOWN:
        click.echo(f"... and {len(missing) - SHOWN:,} more are missing")
    return missing, without_index


def _repair(damaged: list[Path], jobs: int, cache: Path) -> int:
    from unmask.pipeline.extraction import repair as repairing

    with tqdm(total=len(damaged), unit="video", disable=not sys.stderr.isatty()) as bar:

        def progress(outcome: Any) -> None:
            bar.update()

        ended = repairing.repair(damaged, ExtractConfig(jobs=jobs), cache, progress)
    bad = [outcome for outcome in ended if outcome.status != "ok"]
    for outcome in bad:
        click.echo(f"  {outcome.video_id}: {outcome.reason}  {printable(outcome.detail, 300)}")
    click.echo(f"repair: {len(ended) - len(bad):,} made again, {len(bad):,} could not be")
    return EXIT_SOME_FAILED if bad else EXIT_OK
