"""manifest: check, count, merge and filter manifests, import the lists of other toolboxes, and show
what training makes of one.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from unmask.commands.manifest_audit import audit
from unmask.commands.manifest_options import (
    cache_option,
    missing_option,
    path_argument,
    paths_argument,
    read_shown,
)
from unmask.commands.numbers import SEED
from unmask.commands.receipts import materialize, receipt
from unmask.pipeline.errors import EXIT_OK, EXIT_REFUSED, UsageError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.manifests.foreign_lists import FORMS, import_list, write_imported
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL, Entry

SHOWN = 5

out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The manifest to write."
)


@click.group(name="manifest")
def command() -> None:
    """Check, merge, filter, audit, import or preview manifests ('folder label' files)."""


for part in (audit, receipt, materialize):
    command.add_command(part)


@command.command()
@paths_argument
@cache_option
@missing_option
def check(paths: tuple[Path, ...], cache: Path, allow_missing: bool) -> int:
    """Bad lines, missing folders, duplicates, wrong labels, class balance, and leaks between
    several manifests.

    Exit code 4 when a manifest cannot be trusted, when two of them share videos, leakage groups
    or equal files, or when equal files are called real here and fake there.
    """
    from unmask.pipeline.manifests.selections import contradictions, leaks, relabelled

    manifests = [read_shown(path, cache, allow_missing) for path in paths]
    refused = False
    for manifest in manifests:
        click.echo(_summary(manifest))
        if len(manifest.labels) < 2:
            click.echo("  only one class: neither training nor an AUC is possible with it alone")
        if wrong := relabelled(manifest):
            refused = True
            click.echo(
                f"  {len(wrong)} labels differ from the cache, e.g. line {wrong[0].line}: "
                f"{wrong[0].folder}"
            )
    if twofold := contradictions(manifests):
        refused = True
        one, other = twofold[0]
        click.echo(
            f"{len(twofold):,} files stand under two names as real and as fake, e.g. "
            f"{one.folder} {one.label} and {other.folder} {other.label}"
        )
    for leak in leaks(manifests):
        refused = True
        click.echo(f"leak: {leak.first} and {leak.second}")
        if leak.videos:
            click.echo(
                f"  {len(leak.videos):,} videos in both, e.g. {', '.join(leak.videos[:SHOWN])}"
            )
        if leak.groups:
            names = ", ".join("/".join(group) for group in leak.groups[:SHOWN])
            click.echo(f"  {len(leak.groups):,} leakage groups in both, e.g. {names}")
        if leak.copies:
            pairs = ", ".join(" = ".join(pair) for pair in leak.copies[:SHOWN])
            click.echo(f"  {len(leak.copies):,} equal files under two names, e.g. {pairs}")
    return EXIT_REFUSED if refused else EXIT_OK


@command.command()
@paths_argument
@cache_option
@missing_option
def stats(paths: tuple[Path, ...], cache: Path, allow_missing: bool) -> int:
    """Videos per dataset, compression, method and label."""
    from unmask.pipeline.manifests.selections import count

    for path in paths:
        manifest = read_shown(path, cache, allow_missing)
        click.echo(_summary(manifest))
        for dataset, compression, method, label, videos in count(manifest):
            click.echo(
                f"  {dataset:<18}{compression:<6}{method:<26}"
                f"{'fake' if label else 'real':<6}{videos:>9,}"
            )
    return EXIT_OK


@command.command()
@paths_argument
@cache_option
@missing_option
@out_option
def merge(paths: tuple[Path, ...], cache: Path, allow_missing: bool, out: Path) -> int:
    """Write one manifest with the entries of several of the same extraction."""
    from unmask.pipeline.manifests.selections import merge as merged

    manifests = [read_shown(path, cache, allow_missing) for path in paths]
    _write(out, merged(manifests), manifests)
    return EXIT_OK


@command.command(name="filter")
@path_argument
@cache_option
@missing_option
@out_option
@click.option(
    "--methods", default="", help="Fakes of these methods, separated by commas; reals always stay."
)
@click.option("--compression", default="", help="Only raw, c23, c40 or none.")
@click.option("--label", type=click.Choice(["0", "1"]), help="Only reals (0) or fakes (1).")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=0,
    help="At most so many videos of each label; 0 is all.",
)
@click.option("--balance", is_flag=True, help="As many reals as fakes.")
@click.option(
    "--balance-by",
    default="",
    metavar="NAME,NAME",
    help="As many reals as fakes of every value of these: fps, width, height, codec, compression "
    "and whatever else the cache knows of a file.",
)
@click.option(
    "--seed",
    type=SEED,
    default=1,
    show_default=True,
    help="Which videos --limit and --balance keep.",
)
def filter_command(
    path: Path,
    cache: Path,
    allow_missing: bool,
    out: Path,
    methods: str,
    compression: str,
    label: str | None,
    limit: int,
    balance: bool,
    balance_by: str,
    seed: int,
) -> int:
    """Write a manifest with the entries that fit."""
    from unmask.pipeline.manifests.selections import select

    manifest = read_shown(path, cache, allow_missing)
    chosen = select(
        manifest,
        methods=[word.strip() for word in methods.split(",") if word.strip()],
        compression=compression,
        label=None if label is None else int(label),
        limit=limit,
        balance=balance,
        balance_by=[word.strip() for word in balance_by.split(",") if word.strip()],
        seed=seed,
    )
    _write(out, chosen, [manifest])
    return EXIT_OK


@command.command(name="import")
@click.argument("form", type=click.Choice(list(FORMS)))
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder the pictures lie under.  [default: of SOURCE]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the manifests.  [default: the root]"
)
@click.option(
    "--fake-is",
    type=click.Choice(["0", "1"]),
    default="1",
    show_default=True,
    help="TALL: number of fake.",
)
@click.option("--compression", default="", help="DeepfakeBench: which level, e.g. c23.")
def import_command(
    form: str, source: Path, root: Path | None, out: Path | None, fake_is: str, compression: str
) -> int:
    """Turn a list of DeepfakeBench, TALL, CLRNet or Xception-LSTM into manifests of picture
    folders.
    """
    imported = import_list(form, source, root=root, fake_is=int(fake_is), compression=compression)
    root = root or (source if source.is_dir() else source.parent)
    for note in imported.notes:
        click.echo(f"note: {note}")
    for path, entries in write_imported(imported, out or root).items():
        click.echo(f"{path}  {entries:,} entries")
    if out and out.absolute() != root.absolute():
        click.echo(f"the folders are relative to {root}: train and evaluate with --cache {root}")
    return EXIT_OK


@command.command()
@path_argument
@cache_option
@missing_option
@click.option(
    "--recipe",
    default="real_only",
    show_default=True,
    help="One that trains on real footage only.",
)
@click.option("--model", default="clrnet", show_default=True, help="Whose recipe and size.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the model; repeatable."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of the recipe, blend.kinds=lower; repeatable.",
)
@click.option("--pairs", type=click.IntRange(1, 200), default=12, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the training it shows.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="preview.png",
    show_default=True,
    help="The picture to write.",
)
def preview(
    path: Path,
    cache: Path,
    allow_missing: bool,
    recipe: str,
    model: str,
    options: tuple[str, ...],
    overrides: tuple[str, ...],
    pairs: int,
    seed: int,
    out: Path,
) -> int:
    """Draw what a training on real footage only shows its network: rows of real, fake and mask.

    \b
    unmask manifest preview manifests/folder/none/train.txt
    unmask manifest preview train.txt --model m2tr --set blend.mask=edge --set blend.kinds=inner
    """
    from dataclasses import replace

    import torch

    from unmask.models import create_model, typed_options
    from unmask.models.options import ModelError
    from unmask.models.recipes.recipes import get_recipe, parse_overrides
    from unmask.pipeline.clips.real_only import RealOnly
    from unmask.pipeline.disk.files import write_whole
    from unmask.pipeline.reports.blend_preview import blend_preview

    try:
        chosen = get_recipe(model, recipe, parse_overrides(overrides))
        with torch.device("meta"):  # its size is asked for, not its weights
            spec = create_model(model, **typed_options(model, options)).spec
    except ModelError as error:
        raise UsageError(str(error)) from error
    if chosen.balance != "self":
        raise UsageError(
            f"{model}'s recipe {recipe} takes its fakes from the manifest; previews are of recipes "
            "with balance self, such as real_only"
        )
    spec = replace(spec, masks=True, soft_masks=chosen.blend.mask != "hard")
    source = RealOnly(path, cache, spec, chosen.blend, allow_missing=allow_missing)
    for warning in source.warnings:
        click.echo(f"note: {warning}", err=True)
    write_whole(out, blend_preview(source, chosen, pairs, seed))
    click.echo(f"{out}: real, fake and mask of up to {pairs} of {source.videos:,} real videos")
    return EXIT_OK


def _summary(manifest: Manifest) -> str:
    labels = Counter(entry.label for entry in manifest.entries)
    return (
        f"{manifest.path}: {len(manifest):,} videos, {labels[REAL]:,} real, {labels[FAKE]:,} "
        f"fake, key {manifest.key}"
    )


def _write(out: Path, entries: list[Entry], sources: list[Manifest]) -> None:
    """Write a manifest; picture folders are named relative to their manifest, so they must stay in
    its folder.
    """
    from unmask.pipeline.manifests.checked import PICTURES_KEY

    homes = {manifest.path.absolute().parent for manifest in sources}
    if sources[0].key == PICTURES_KEY and homes != {out.absolute().parent}:
        here = ", ".join(sorted(map(str, homes)))
        raise UsageError(
            f"--out {out}: entries name picture folders beside their manifest; write it into {here}"
        )
    write_manifest(out, entries)
    labels = Counter(entry.label for entry in entries)
    click.echo(
        f"{out}: {len(entries):,} videos, {labels[REAL]:,} real, {labels[FAKE]:,} fake",
        file=sys.stdout,
    )
