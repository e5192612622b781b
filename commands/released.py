"""Detectors that others released, wherever a command takes a run: `--model zoo:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

# As in pipeline/zoo/install.py, which loads torch: most commands are given no release.
PREFIX = "zoo:"


def release_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--zoo and --accept-licence."""
    command = click.option(
        "--accept-licence",
        "accepted",
        multiple=True,
        metavar="NAME",
        help="Of a release; repeatable.",
    )(command)
    return click.option(
        "--zoo",
        type=click.Path(path_type=Path),
        default="zoo",
        show_default=True,
        help="Where the files of releases lie.",
    )(command)


def released_run(name: str, zoo: Path, accepted: tuple[str, ...]) -> str:
    """The run folder of `zoo:NAME`. Raises UsageError, CheckpointError."""
    from unmask.pipeline.zoo.install import open_release

    return str(open_release(name, zoo, accepted))
