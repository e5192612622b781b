"""export-model: a trained model as one file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.errors import EXIT_OK

P = PredictConfig()


@click.command(name="export-model")
@click.option(
    "--run", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The trained run."
)
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="model.onnx or model.pt2.",
)
@click.option(
    "--which",
    type=click.Choice(["best", "last"]),
    default=P.which,
    show_default=True,
    help="Checkpoint.",
)
@click.option(
    "--cache", default=P.cache, metavar="DIR", help="Of the training crops, for their settings."
)
def command(run: Path, to: Path, which: str, cache: str) -> int:
    """A trained model as .onnx or .pt2, checked to give the run's scores, with a sidecar that
    predict reads.

    \b
    unmask export-model --run runs/0001-clrnet-ffpp-c23 --to clrnet.onnx
    unmask predict video.mp4 --model clrnet.onnx

    The sidecar FILE.json says how clips are cut, cropped and normalised, and holds threshold and
    unsure zone. ONNX needs pip install 'unmask[onnx]'. A .pt2 can run code when it is loaded:
    predict wants --trust-model for it.
    """
    from unmask.pipeline.prediction.export import export_model
    from unmask.pipeline.prediction.exported import TOLERANCE

    done = export_model(run, to, PredictConfig(which=which, cache=cache, device="cpu"))
    click.echo(f"{done.path}  {done.bytes / 2**20:.1f} MiB")
    click.echo(f"{done.sidecar}")
    click.echo(
        f"scores agree with the run to {done.difference:.1e} (at most {TOLERANCE:g} is accepted)"
    )
    return EXIT_OK
