"""datasets: what is known, what a dataset should look like, and whether the one on this disk
does.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.commands.numbers import SEED
from unmask.commands.quality_output import is_cached, quality_config, quality_options, run_quality
from unmask.pipeline.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from unmask.pipeline.reports.printable import printable
from unmask.pipeline.sources.dataset import Source, SourceOptions
from unmask.pipeline.sources.registry import (
    SOURCES,
    broken_sources,
    default_root,
    discover,
    list_sources,
    origin_of,
    resolve,
)
from unmask.pipeline.sources.splits import read_ratio

if TYPE_CHECKING:
    from unmask.pipeline.sources.audit import Report

DEFAULTS = SourceOptions()
SHOWN = 10


@click.command(name="datasets")
@click.argument("name", required=False)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Where it lies.  [default: $UNMASK_DATA/NAME or data/NAME]",
)
@click.option(
    "--verify",
    "check",
    is_flag=True,
    help="Compare the disk with what the owners ship; exit 3 if it differs.",
)
@click.option(
    "--audit",
    "look",
    is_flag=True,
    help="How well the files alone tell real from fake: container, encoder, rate, sound, size.",
)
@click.option(
    "--audit-out",
    type=click.Path(path_type=Path),
    metavar="NAME",
    help="With --audit: where page, JSON and scores go, without a suffix.  [default: NAME.audit]",
)
@click.option(
    "--boosting/--no-boosting",
    default=True,
    help="With --audit: also gradient boosting, which sees what a linear model cannot.",
)
@click.option(
    "--audit-videos",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="With --audit: per class; 0: all.",
)
@click.option(
    "--quality",
    "rated",
    is_flag=True,
    help="How close cached fakes are to their originals: Mask-SSIM, E_warp, perceptual distance.",
)
@click.option(
    "--quality-out",
    type=click.Path(path_type=Path),
    metavar="NAME",
    help="With --quality: where page, JSON and rows go, without a suffix.  [default: NAME.quality]",
)
@quality_options
@click.option(
    "--probe",
    is_flag=True,
    help="With --verify: open every file and report codec, size, fps and damage.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --verify: print one JSON object with every path."
)
@click.option(
    "--compression",
    default=DEFAULTS.compression,
    show_default=True,
    help="FF++ trees: raw, c23 or c40.",
)
@click.option("--methods", default="", help="Only these manipulation methods, separated by commas.")
@click.option(
    "--splits", type=click.Path(path_type=Path), help="Folder (or file) of the official lists."
)
@click.option("--split-ratio", help="Own split, e.g. 0.7,0.15,0.15, in place of the official one.")
@click.option(
    "--seed", type=SEED, default=DEFAULTS.seed, show_default=True, help="Of derived splits."
)
@click.option(
    "--strict",
    is_flag=True,
    help="Drop what is known to leak between official splits; with --audit, exit 4 for AUC 0.9.",
)
@click.option(
    "--label-mode",
    type=click.Choice(["visual", "audio", "any"]),
    default=DEFAULTS.label_mode,
    show_default=True,
    help="Which modality makes a video fake.",
)
@click.option(
    "--reals",
    type=click.Path(path_type=Path),
    help="Root of the dataset that holds the reals, if another.",
)
def command(
    name: str | None,
    root: Path | None,
    check: bool,
    look: bool,
    audit_out: Path | None,
    audit_videos: int,
    boosting: bool,
    rated: bool,
    quality_out: Path | None,
    probe: bool,
    as_json: bool,
    **words: Any,
) -> int:
    """List the known datasets; with NAME the tree it should have; with --verify whether it has it.

    \b
    unmask datasets
    unmask datasets celebdf2
    unmask datasets ffpp --root /data/FaceForensics++ --verify
    unmask datasets ffpp --root /data/FaceForensics++ --audit
    unmask datasets ffpp --quality --cache cache
    """
    quality = quality_config(words, words["seed"], rated)
    if name is None:
        _print_table()
        return EXIT_OK
    if rated:
        if look or check or probe or as_json or audit_out:
            raise UsageError("--quality goes without --audit, --verify, --probe and --json")
        # A cache folder may have another name than the layout that filled it (extract --name).
        dataset = name if is_cached(quality, name) else resolve(name).name
        target = quality_out or Path(f"{dataset}.quality")
        return run_quality(dataset, quality, _options(words).methods, target)
    if quality_out is not None:
        raise UsageError("--quality-out needs --quality")
    source = resolve(name)
    if look:
        if check or probe or as_json:
            raise UsageError("--audit goes without --verify, --probe and --json")
        target = audit_out or Path(f"{source.name}.audit")
        where = root or default_root(name)
        return _audit(source, where, _options(words), target, audit_videos, boosting)
    if audit_out is not None:
        raise UsageError("--audit-out needs --audit")
    if not check:
        if probe or as_json:
            raise UsageError("--probe and --json need --verify")
        _print_source(source)
        return EXIT_OK
    return _verify(source, root or default_root(name), _options(words), probe, as_json)


def _options(words: dict[str, Any]) -> SourceOptions:
    methods = tuple(word.strip() for word in words.pop("methods").split(",") if word.strip())
    return SourceOptions(methods=methods, split_ratio=read_ratio(words.pop("split_ratio")), **words)


def _print_table() -> None:
    columns = ("name", "kind", "size", "access", "licence", "tasks")
    click.echo("# Known datasets; `unmask datasets NAME` prints the expected tree\n")
    for source in list_sources().values():
        click.echo(f"{source.name:<16} {printable(source.title)}")
        for column in columns[1:]:
            click.echo(f"{'':<16}   {column + ':':<9}{printable(getattr(source, column))}")
        if source.name not in SOURCES:
            click.echo(f"{'':<16}   {'from:':<9}{origin_of(source.name)}")
    for line in broken_sources():
        click.echo(f"unmask: {printable(line)}", err=True)


def _print_source(source: Source) -> None:
    click.echo(f"{source.title}   (--dataset {source.name})")
    if source.name not in SOURCES:
        click.echo(f"from package {origin_of(source.name)}")
    if source.aliases:
        click.echo(f"also called: {', '.join(source.aliases)}")
    for title, text in (
        ("kind", source.kind),
        ("size", source.size),
        ("access", source.access),
        ("licence", source.licence),
        ("tasks", source.tasks),
    ):
        click.echo(f"{title + ':':<9}{text}")
    click.echo(f"\nexpected tree\n{source.tree}\n")
    click.echo(f"labels   {source.labels}")
    click.echo(f"splits   {source.splits}")
    click.echo(f"\nlooked for in {default_root(source.name)} unless --root says otherwise")


def _audit(
    source: Source, root: Path, options: SourceOptions, target: Path, most: int, boosting: bool
) -> int:
    from unmask.commands.audit_output import run_audit
    from unmask.pipeline.config import Limits
    from unmask.pipeline.shortcuts.signals import of_dataset

    dataset = discover(source.name, root, options)
    return run_audit(
        lambda tick: of_dataset(dataset, Limits(), most, options.seed, tick),
        f"Audit of {source.name} in {root}",
        target,
        permutations=199,
        boosting=boosting,
        seed=options.seed,
        strict=options.strict,
    )


def _verify(source: Source, root: Path, options: SourceOptions, probe: bool, as_json: bool) -> int:
    from unmask.pipeline.extraction import probe as probing
    from unmask.pipeline.sources import audit

    dataset = discover(source.name, root, options)
    report = audit.audit(dataset)
    if probe:
        from tqdm import tqdm

        with tqdm(total=len(dataset.videos), unit="video", disable=not sys.stderr.isatty()) as bar:
            probing.probe(dataset, report, bar.update)
    if as_json:
        click.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=1))
    else:
        _print_report(report)
    return EXIT_OK if report.ok else EXIT_SOME_FAILED


def _print_report(report: Report) -> None:
    click.echo(f"{report.dataset} in {report.root}\n")
    click.echo(
        f"{'split':<7}{'method':<26}{'label':<7}{'expected':>9}{'found':>9}"
        f"{'missing':>9}{'unreadable':>12}"
    )
    for row in report.rows:
        word = "fake" if row.label else "real"
        click.echo(
            f"{row.split:<7}{row.method[:25]:<26}{word:<7}{row.expected:>9,}{row.found:>9,}"
            f"{row.missing:>9,}{row.unreadable:>12,}"
        )
    _print_some("missing", report.missing)
    _print_some("unreadable", [f"{key} ({why})" for key, why in report.unreadable])
    _print_some("unlisted", report.unlisted)
    if report.ignored:
        reasons = Counter(why for _, why in report.ignored)
        click.echo(
            f"\nignored: {', '.join(f'{why} {count:,}' for why, count in reasons.most_common())}"
        )
    _print_probes(report)
    for title, lines in (
        ("note", report.notes),
        ("warning", report.warnings),
        ("fault", report.faults),
    ):
        for line in lines:
            click.echo(f"{title}: {printable(line)}")
    click.echo(
        "\nall is well" if report.ok else "\nsomething is off (exit 3); --json lists every path"
    )


def _print_some(title: str, names: list[str]) -> None:
    if not names:
        return
    click.echo(f"\n{title}: {len(names):,}")
    for name in names[:SHOWN]:
        click.echo(f"  {printable(name)}")
    if len(names) > SHOWN:
        click.echo(f"  ... and {len(names) - SHOWN:,} more")


def _print_probes(report: Report) -> None:
    good = [p for p in report.probes if not p.reason]
    if not report.probes:
        return
    kinds = Counter(
        (p.codec, p.pixel_format, f"{p.width}x{p.height}", f"{p.fps:g} fps") for p in good
    )
    click.echo(f"\nopened: {len(good):,} of {len(report.probes):,}")
    for kind, count in kinds.most_common(SHOWN):
        click.echo(f"  {count:>8,}  {' '.join(kind)}")
    if good:
        frames = sorted(p.frames for p in good)
        click.echo(f"  frames {frames[0]:,} to {frames[-1]:,}, median {frames[len(frames) // 2]:,}")
    flags = Counter(flag for p in good for flag in p.flags)
    if flags:
        click.echo(
            f"  flags: {', '.join(f'{flag} {count:,}' for flag, count in flags.most_common())}"
        )
    _print_some(
        "cannot be used", [f"{p.key}: {p.reason} {p.detail}" for p in report.probes if p.reason]
    )
