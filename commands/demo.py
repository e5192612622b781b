"""demo: a drawn dataset, and on it the very commands a user types for a real one."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import click
from tqdm import tqdm

from unmask.commands.numbers import JOBS, SEED
from unmask.pipeline.errors import EXIT_OK, EXIT_SOME_FAILED, PipelineError
from unmask.pipeline.records import DRAWN

# A CLRNet that two cores train in minutes: fewer filters, 1x1 recurrent kernels in the stem, and
# BatchNorm statistics that follow within some hundred steps. None of it is the paper's.
MODEL = ("--model", "clrnet", "--recipe", "small")
OPTIONS = (
    "--option",
    "width=8",
    "--option",
    "recurrent_kernel=1",
    "--option",
    "bn_momentum=0.1",
    "--val-clips",
    "2",
)


@click.command(name="demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="demo",
    show_default=True,
    help="Everything goes here.",
)
@click.option("--epochs", type=click.IntRange(1), default=24, show_default=True)
@click.option(
    "--jobs", type=JOBS, default=-1, show_default=True, help="Worker processes of the extraction."
)
@click.option("--seed", type=SEED, default=1, show_default=True)
def command(out: Path, epochs: int, jobs: int, seed: int) -> int:
    """Draw a small FaceForensics++-shaped dataset and walk the whole road on it: extract, train,
    evaluate.

    Takes some minutes on two cores, no downloads, no GPU. The number at the end shows that the road
    works; drawn faces say nothing about how well a detector does on real ones.
    """
    from unmask.pipeline.demo.dataset import METHODS, DemoConfig, draw_dataset, mosaic
    from unmask.pipeline.disk.files import write_whole

    started = time.monotonic()
    config = DemoConfig()
    data, cache, manifests, run = (out / name for name in ("data", "cache", "manifests", "run"))
    click.secho(
        f"1. Draw {config.videos} videos of {config.width}x{config.height} into {data}", bold=True
    )
    with tqdm(
        total=config.videos, unit="video", disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:
        for _ in draw_dataset(data, config):
            bar.update()
    lists = manifests / DRAWN / config.compression
    places = ("--cache", str(cache))
    steps = {
        "2. Extract: decode, find and align faces, store crops and DCT bands, write manifests": [
            *(
                "extract",
                "--dataset",
                "ffpp",
                "--root",
                str(data),
                "--methods",
                ",".join(METHODS),
                *places,
            ),
            *("--manifests", str(manifests), "--jobs", str(jobs)),
        ],
        "3. Train a small CLRNet": [
            "train",
            "--run",
            str(run),
            "--epochs",
            str(epochs),
            *(
                ["--resume"]
                if (run / "run.json").exists()
                else [
                    "--manifest",
                    str(lists / "train.txt"),
                    *places,
                    *MODEL,
                    *OPTIONS,
                    "--seed",
                    str(seed),
                ]
            ),
        ],
        "4. Evaluate on people the model has never seen": [
            *(
                "evaluate",
                "--manifest",
                str(lists / "test.txt"),
                *places,
                "--run",
                str(run),
                "--video-level",
            ),
        ],
    }
    for title, words in steps.items():
        click.secho(f"\n{title}", bold=True)
        click.echo(f"$ python cli.py {' '.join(words)}")
        code = call(*words)
        if code not in (EXIT_OK, EXIT_SOME_FAILED):
            raise PipelineError(
                f"demo: `{words[0]}` ended with exit code {code}; its own lines above say why"
            )
    write_whole(out / "crops.png", mosaic(next((cache / DRAWN).iterdir())))
    return _report(out, run, time.monotonic() - started)


def call(name: str, *words: str) -> int:
    """Another command, exactly as the command line would run it."""
    module = importlib.import_module(f"commands.{name}")
    result = module.command.main(list(words), prog_name=f"unmask {name}", standalone_mode=False)
    return result if isinstance(result, int) else EXIT_OK


def _report(out: Path, run: Path, seconds: float) -> int:
    from unmask.pipeline.manifests.outcomes import duration

    click.secho(f"\nThe whole road took {duration(seconds)}.", bold=True)
    for what, pattern in (
        ("report", "**/report.html"),
        ("scores", "**/scores.csv"),
        ("metrics", "**/metrics.json"),
    ):
        found = sorted(run.glob(pattern))
        if found:
            click.echo(f"{what:<8} {found[-1]}")
    click.echo(
        f"{'picture':<8} {out / 'crops.png'}\n{'crops':<8} {out / 'cache'}\n{'run':<8} {run}"
    )
    click.echo(
        "The faces are drawn: this shows that the road works, not that the detector is good; "
        "predict with this run answers `unsure` on everything."
    )
    return EXIT_OK
