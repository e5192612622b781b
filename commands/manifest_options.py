"""What the commands on manifests ask for alike."""

from __future__ import annotations

from pathlib import Path

import click

from unmask.pipeline.manifests.checked import Manifest, read_manifest

cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default="cache",
    show_default=True,
    help="Where the crops lie.",
)
missing_option = click.option(
    "--allow-missing", is_flag=True, help="Leave absent folders out instead of refusing."
)
paths_argument = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
path_argument = click.argument("path", type=click.Path(path_type=Path))


def read_shown(path: Path, cache: Path, allow_missing: bool) -> Manifest:
    """The manifest, its warnings on stderr. Raises ManifestError, CacheError."""
    manifest = read_manifest(path, cache, allow_missing=allow_missing)
    for warning in manifest.warnings:
        click.echo(f"warning: {warning}", err=True)
    return manifest
