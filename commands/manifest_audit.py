"""manifest audit: can the label of a manifest be told without looking at the forgery?"""

from __future__ import annotations

from pathlib import Path

import click

from unmask.commands.manifest_options import cache_option, missing_option, path_argument, read_shown
from unmask.commands.numbers import SEED
from unmask.pipeline.errors import UsageError


@click.command(name="audit")
@path_argument
@cache_option
@missing_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where page, JSON and the audit's scores go, without a suffix.  [default: beside the "
    "manifest, where evaluate finds it]",
)
@click.option(
    "--videos", type=click.IntRange(0), default=1000, show_default=True, help="Per class; 0: all."
)
@click.option(
    "--files/--no-files", default=True, help="Also ask the video files, where they still lie."
)
@click.option(
    "--frames/--no-frames",
    default=True,
    help="Also decode some frames of them: quantiser, corners, traces of an earlier compression.",
)
@click.option(
    "--permutations",
    type=click.IntRange(19, 9999),
    default=199,
    show_default=True,
    help="Of labels, for the null.",
)
@click.option("--boosting/--no-boosting", default=True, help="Also gradient boosting.")
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    help="Of a detector: three tests whether it uses what was found.",
)
@click.option(
    "--scores-after",
    type=click.Path(path_type=Path),
    help="Its scores once both classes were re-encoded alike.",
)
@click.option(
    "--scores-placebo",
    type=click.Path(path_type=Path),
    help="Its scores once the same was done to videos that were alike before.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of folds and permutations.")
@click.option("--strict", is_flag=True, help="Exit code 4 where a family is broken (AUC 0.9).")
def audit(
    path: Path,
    cache: Path,
    allow_missing: bool,
    out: Path | None,
    videos: int,
    files: bool,
    frames: bool,
    permutations: int,
    boosting: bool,
    scores: Path | None,
    scores_after: Path | None,
    scores_placebo: Path | None,
    seed: int,
    strict: bool,
) -> int:
    """How well real and fake are told apart here without looking at the forgery: container,
    encoder, rate, sound, frame rate, size, crop, background and corners.
    """
    from unmask.commands.audit_output import run_audit
    from unmask.pipeline.config import Limits
    from unmask.pipeline.shortcuts.page import beside_manifest
    from unmask.pipeline.shortcuts.signals import of_manifest

    if scores is None and (scores_after or scores_placebo):
        raise UsageError("--scores-after and --scores-placebo need --scores")
    manifest = read_shown(path, cache, allow_missing)
    return run_audit(
        lambda tick: of_manifest(manifest, Limits(), videos, seed, files, frames, tick),
        f"Audit of {path}",
        out or beside_manifest(path).with_suffix(""),
        permutations=permutations,
        boosting=boosting,
        seed=seed,
        strict=strict,
        scores=(scores, scores_after, scores_placebo),
        manifest_sha256=manifest.sha256,
    )
