"""manifest receipt and materialize: what may be published of cached videos, and the crops cut again
from it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from unmask.commands.manifest_options import cache_option, missing_option, path_argument, read_shown
from unmask.commands.numbers import JOBS
from unmask.pipeline.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError

SHOWN = 5


@click.command()
@path_argument
@cache_option
@missing_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="[default: NAME.receipt.jsonl beside it]"
)
def receipt(path: Path, cache: Path, allow_missing: bool, out: Path | None) -> int:
    """Write what may be published of the cached videos: sha256 of every file and crop, frame
    numbers, boxes, settings; no face, no path.
    """
    from tqdm import tqdm

    from unmask.pipeline.extraction.receipt import receipt_of, write_receipt

    manifest = read_shown(path, cache, allow_missing)
    out = out or path.with_name(f"{path.stem}.receipt.jsonl")
    with tqdm(total=len(manifest), unit="video", disable=not sys.stderr.isatty()) as bar:
        sha256 = write_receipt(out, receipt_of(manifest, bar.update))
    click.echo(f"{out}: {len(manifest):,} videos, sha256 {sha256}")
    return EXIT_OK


@click.command()
@click.option(
    "--receipt", "path", type=click.Path(path_type=Path), required=True, help="Of somebody."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="Where your copies of the videos lie, under any names.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the crops go; a folder of its own.",
)
@click.option("--jobs", type=JOBS, default=-1, show_default=True, help="Worker processes.")
@click.option("--json", "as_json", is_flag=True, help="Every clip as JSON.")
def materialize(path: Path, root: Path, cache: Path, jobs: int, as_json: bool) -> int:
    """Cut a receipt's crops from your own copies and say which clips are equal to the pixel.

    Exit code 3 when one differs or cannot be made.
    """
    import json
    from dataclasses import asdict

    from unmask.pipeline.extraction.receipt import materialize as made
    from unmask.pipeline.extraction.receipt import read_receipt
    from unmask.pipeline.reports.printable import printable

    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    head, rows = read_receipt(path)
    found, notes = made(head, rows, root, cache, jobs)
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)
    equal, different = (sum(len(getattr(one, n)) for one in found) for n in ("equal", "different"))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
        return EXIT_SOME_FAILED if different else EXIT_OK
    for one in found:
        if one.different:
            clips = ", ".join(map(str, one.different[:SHOWN]))
            click.echo(
                f"{printable(one.name)}: {len(one.different)} of "
                f"{len(one.equal) + len(one.different)} clips differ ({clips})"
                f"{': ' + printable(one.reason) if one.reason else ''}"
            )
    click.echo(f"{len(found):,} videos: {equal:,} clips equal, {different:,} different")
    return EXIT_SOME_FAILED if different else EXIT_OK
