"""features: a frozen encoder's answer to every frame of a manifest's crops, once."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from unmask.commands.numbers import SEED
from unmask.pipeline.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from unmask.pipeline.reports.printable import printable

SHOWN = 20  # videos without features that are named


@click.command(name="features")
@click.option(
    "--manifest",
    "manifests",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Whose videos; repeatable.",
)
@click.option("--model", default="encoder", show_default=True, help="A model with an encoder.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="backbone, size or fit of the model; repeatable.",
)
@click.option("--cache", type=click.Path(path_type=Path), default="cache", show_default=True)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="features",
    show_default=True,
    help="Root of the features.",
)
@click.option("--init", default="", metavar="FILE", help="The encoder's weights (.safetensors).")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Of a trained encoder: its best weights, low-rank changes merged.",
)
@click.option("--from-scratch", is_flag=True, help="Random weights in place of pretrained ones.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of random weights.")
@click.option("--allow-missing", is_flag=True, help="Leave videos out that are not in the cache.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def command(
    manifests: tuple[Path, ...],
    model: str,
    options: tuple[str, ...],
    cache: Path,
    store: Path,
    init: str,
    run: Path | None,
    from_scratch: bool,
    seed: int,
    allow_missing: bool,
    device: str,
) -> int:
    """Features of a frozen encoder, (clips, frames, C) float16 for every video, kept in a store.

    \b
    unmask features --manifest manifests/ffpp/c23/train.txt --option backbone=pe-core-s
    unmask train --features auto --manifest manifests/ffpp/c23/train.txt    seconds on a CPU
    unmask verify --repair                                    checks and mends the store too

    Stopped and run again it goes on. The store's folder is named by encoder, weights, side and
    crops, so that no two encoders mix. Exit code 0: all there; 3: some videos have none, named.
    """
    from unmask.models import typed_options
    from unmask.models.options import ModelError
    from unmask.pipeline.manifests.checked import PICTURES_KEY, read_manifest

    if model != "encoder":
        raise UsageError(f"--model {model:.80}: only the model encoder has stored features")
    if from_scratch + bool(init) + (run is not None) > 1:
        raise UsageError("--from-scratch, --init and --run exclude each other; take one")
    found = []
    for path in manifests:
        if path.suffix == ".h5":
            raise UsageError(f"{path}: features lie beside a cache; name a manifest of its crops")
        found.append(read_manifest(path, cache, allow_missing=allow_missing))
    keys = {one.key for one in found}
    if len(keys) > 1 or PICTURES_KEY in keys:
        raise UsageError(f"expected manifests of one cache key, not of {', '.join(sorted(keys))}")
    entries = list({entry.folder: entry for one in found for entry in one.entries}.values())
    origin = f"random:{seed}" if from_scratch else init or "timm"
    try:
        chosen = typed_options(model, list(options))
        if run is not None:
            chosen, origin = _options_of(run, chosen), str(run)
        return _compute(entries, chosen, origin, keys.pop(), (cache, store, device))
    except ModelError as error:
        raise UsageError(str(error)) from error


def _options_of(run: Path, chosen: dict) -> dict:
    """The run's own options; those that were typed must be the same. Raises UsageError,
    CheckpointError.
    """
    from unmask.models.backbones import find_backbone
    from unmask.pipeline.features.frozen import options_of
    from unmask.pipeline.runs.run_folder import open_run

    own = options_of(open_run(run))
    for name, value in chosen.items():
        same = (
            find_backbone(str(value)) == find_backbone(str(own[name]))
            if name == "backbone"
            else value == own.get(name, value)
        )
        if not same:
            raise UsageError(f"--option {name}={value}: {run} has {name}={own[name]}")
    return {**chosen, **own}


def _compute(
    entries: list, options: dict, origin: str, key: str, place: tuple[Path, Path, str]
) -> int:
    from unmask.pipeline.features.compute import Call, compute
    from unmask.pipeline.features.frozen import frozen_encoder
    from unmask.pipeline.machine.devices import choose_device

    cache, store, device = place
    frozen = frozen_encoder(options, origin, key)
    untrained = " (untrained encoder: for tests)" if origin.startswith("random:") else ""
    click.echo(f"features: {len(entries):,} videos, key {frozen.settings.key}{untrained}")
    quiet = not sys.stderr.isatty()
    with tqdm(total=len(entries), unit="video", disable=quiet, dynamic_ncols=True) as bar:
        ended = compute(
            entries, frozen, Call(cache, store, choose_device(device)), lambda _: bar.update()
        )
    failed = [outcome for outcome in ended if outcome.status != "ok"]
    for outcome in failed[:SHOWN]:
        click.echo(f"  {outcome.video_id}: {outcome.reason}  {printable(outcome.detail, 300)}")
    if len(failed) > SHOWN:
        click.echo(f"  ... and {len(failed) - SHOWN:,} more")
    click.echo(
        f"features: {len(ended) - len(failed):,} there, {len(failed):,} without; train a head "
        f"with: train --features {frozen.settings.key}"
    )
    return EXIT_SOME_FAILED if failed else EXIT_OK
