"""export: one manifest with its crops as one HDF5 file."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from unmask.pipeline.errors import EXIT_OK, UsageError


@click.command(name="export")
@click.option(
    "--manifest", type=click.Path(path_type=Path), required=True, help="Lines 'folder label'."
)
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.h5",
    help="The file to write.",
)
@click.option(
    "--bands/--no-bands", default=True, show_default=True, help="Take cached DCT bands along."
)
@click.option(
    "--compression",
    type=click.Choice(["gzip", "none"]),
    default="gzip",
    show_default=True,
    help="gzip: about 0.58 of raw. none: many times faster to read.",
)
def command(manifest: Path, cache: Path, to: Path, bands: bool, compression: str) -> int:
    """One HDF5 file with the crops, labels, frame numbers, times and attributes of a manifest's
    videos.

    \b
    unmask export --manifest manifests/ffpp/c23/test.txt --to ffpp-c23-test.h5
    unmask evaluate --manifest ffpp-c23-test.h5

    For sharing, and for file systems that dislike many files. train and evaluate read it in place
    of the manifest.
    """
    from unmask.pipeline.clips.hdf5 import is_export
    from unmask.pipeline.clips.hdf5_writer import write_export
    from unmask.pipeline.manifests.checked import read_manifest

    if is_export(manifest):
        raise UsageError(
            f"{manifest}: is an export already; --manifest wants the text file it was made from"
        )
    read = read_manifest(manifest, cache)
    for warning in read.warnings:
        click.echo(warning, err=True)
    with tqdm(
        total=len(read), unit="video", disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:
        done = write_export(
            to, read, bands=bands, compression=compression, progress=lambda entry: bar.update()
        )
    click.echo(
        f"export: {done.videos:,} videos, {done.clips:,} clips ({', '.join(done.arrays)}), "
        f"{done.size / 2**20:,.1f} MiB in {done.path}"
    )
    return EXIT_OK
