"""train: from a manifest to a run folder, with what it took for granted said aloud."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from tqdm import tqdm

from unmask.commands.field_options import field_option
from unmask.commands.numbers import SEED, Number
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from unmask.pipeline.training.progress import Live, Started

DEFAULTS = TrainConfig()

# What the options of these names become is decided together; all others go into the configuration
# as they are.
JOINED = {"manifest", "val", "cache", "store", "options", "recipe", "overrides"}
MOST_SEEDS = 100


@click.command(name="train")
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Training manifest, or an exported FILE.h5."
)
@click.option(
    "--val", type=click.Path(path_type=Path), help="Validation manifest.  [default: val beside it]"
)
@click.option(
    "--no-val", is_flag=True, help="Train without validation; the last weights count as the best."
)
@field_option(
    DEFAULTS, "cache", "Root of the crops that extract made.", kind=click.Path(path_type=Path)
)
@field_option(DEFAULTS, "allow_missing", "Leave videos out that are not in the cache.")
@field_option(DEFAULTS, "model", "See: unmask models.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the model; repeatable.",
)
@field_option(DEFAULTS, "recipe", "Preset of optimizer, loss, augmentation.  [default: paper]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of the recipe, lr=1e-4; repeatable.",
)
@click.option("--epochs", type=click.IntRange(1), help="In place of the recipe's.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="Clips in a step over all processes, in place of the recipe's.",
)
@click.option(
    "--balance",
    type=click.Choice(["balanced", "paired", "none", "self"]),
    help="How batches are filled; self: with reals and fakes made of them.",
)
@field_option(DEFAULTS, "steps", "Stop after so many steps; 0: at the last epoch.", least=0)
@field_option(
    DEFAULTS,
    "all_clips",
    "Every clip in an epoch, also where the recipe takes one of each video.",
)
@field_option(DEFAULTS, "seed", "Of weights, order, augmentation and dropout.", kind=SEED)
@field_option(DEFAULTS, "accumulate", "Compute a batch in so many parts.", least=1)
@field_option(
    DEFAULTS,
    "ema",
    "Decay of averaged weights; 0: none.",
    kind=Number(0, 1, max_open=True),
)
@field_option(DEFAULTS, "sync_norm", "Batch statistics over all GPUs.")
@field_option(DEFAULTS, "compile", "torch.compile: minutes at the start, faster steps on a GPU.")
@field_option(DEFAULTS, "channels_last", "Memory order of the weights; faster.")
@field_option(DEFAULTS, "device", "auto: a GPU where there is one.")
@field_option(DEFAULTS, "devices", "Processes, one on each GPU.", least=1)
@field_option(DEFAULTS, "precision", "auto: float32 on a CPU, bf16 or float16 on a GPU.")
@field_option(DEFAULTS, "threads", "That read clips.", least=1)
@field_option(
    DEFAULTS, "bands", "DCT bands of models that eat them: from the cache, or made of the pixels."
)
@field_option(DEFAULTS, "val_clips", "Samples scored of a video between epochs; 0: all.", least=0)
@field_option(
    DEFAULTS, "patience", "Stop after so many epochs without a better one; 0: never.", least=0
)
@field_option(
    DEFAULTS, "checkpoint_steps", "Save also every so many steps; 0: after epochs only.", least=0
)
@field_option(DEFAULTS, "tensorboard", "Write the curves for TensorBoard too.")
@field_option(DEFAULTS, "pretrained", "Start from ImageNet weights.")
@field_option(
    DEFAULTS, "from_scratch", "Start from random weights where the recipe starts from ImageNet's."
)
@field_option(DEFAULTS, "init", "Start from these weights (.safetensors).", metavar="FILE")
@field_option(DEFAULTS, "trust_checkpoint", "Also read --init FILE.pt, of tensors only.")
@click.option(
    "--features",
    is_flag=False,
    flag_value="auto",
    default="",
    metavar="[KEY]",
    help="Train a head of `encoder` on stored features; without KEY on the only ones there are.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="features",
    show_default=True,
    help="Root of the features.",
)
@click.option(
    "--seeds",
    metavar="0-4",
    help="One run of each seed, 0-4 or 0,2,5; `runs` and `evaluate --seeds` join them.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="The run's folder.  [default: the next in --runs]",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default="runs",
    show_default=True,
    help="Folder of numbered runs.",
)
@click.option(
    "--resume", is_flag=True, help="Go on with --run (default: the newest) where it stopped."
)
@click.option(
    "--from-run", type=click.Path(path_type=Path), metavar="RUN.JSON", help="Repeat another run."
)
@click.pass_context
def command(ctx: click.Context, **values: Any) -> int:
    """Train a detector from a manifest.

    \b
    unmask train --manifest manifests/ffpp/c23/train.txt
    unmask train --manifest train.txt --model stil --recipe code --set lr=2e-4 --option frames=16
    unmask train --features --seeds 0-4    heads on what `features` stored, in seconds
    unmask train --resume                  the newest run goes on where it stopped
    unmask train --from-run runs/0003-clrnet-ffpp-c23/run.json
    torchrun --nproc-per-node 2 -- cli.py train --run runs/two-gpus ...     the two dashes keep
                                                     torchrun from reading --run as its own

    Ctrl-C and SIGTERM finish the step and save; a second one ends at once. Exit code 0: finished;
    130 and 143: stopped, resumable; 4: manifest, cache or checkpoint refused, or no finite loss any
    more.
    """
    given = {
        name for name in values if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if values["seeds"] is not None:
        return _of_every_seed(values, given)
    return _train(values, given)


def _of_every_seed(values: dict[str, Any], given: set[str]) -> int:
    """A run of each seed, one after the other; stops at the first that does not end well."""
    if clash := sorted(given & {"seed", "resume", "from_run"}):
        raise UsageError(f"--seeds begins several runs; leave out --{clash[0].replace('_', '-')}")
    for seed in seeds_of(values["seeds"]):
        own = {**values, "seed": seed, "seeds": None}
        if values["run"] is not None:
            own["run"] = values["run"].with_name(f"{values['run'].name}-seed{seed}")
        code = _train(own, given - {"seeds"} | {"seed"})
        if code != EXIT_OK:
            return code
    click.echo("train: mean and standard deviation over the seeds: `runs`")
    return EXIT_OK


def seeds_of(text: str) -> list[int]:
    """`0-4` or `0,2,5-7` as numbers, each once. Raises UsageError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 10 for end in ends):
            raise UsageError(f"--seeds {text:.40}: expected such as 0-4 or 0,2,5")
        seeds += range(int(ends[0]), int(ends[1]) + 1)
        if int(ends[1]) < int(ends[0]) or len(seeds) > MOST_SEEDS:
            raise UsageError(f"--seeds {text:.40}: expected 1 to {MOST_SEEDS} rising numbers")
    return list(dict.fromkeys(seeds))


def _train(values: dict[str, Any], given: set[str]) -> int:
    """One run, told as it goes on; returns the exit code."""
    from unmask.models.options import ModelError
    from unmask.pipeline.training.train import train

    say = _Speaker()
    try:
        config, run, expected = _plan(values, given, say)
    except ModelError as error:
        raise UsageError(str(error)) from error
    with say:
        result = train(
            config,
            values["runs"],
            run=run,
            resume=values["resume"],
            expected=expected,
            report=say.progress,
            started=say.started,
        )
    at = result.progress
    best = (
        ""
        if at.auc is None
        else f", best validation video AUC {at.auc:.4f} after epoch {at.best_epoch}"
    )
    lost = f", {at.skipped} steps skipped (loss not finite)" if at.skipped else ""
    if result.exit_code != EXIT_OK:
        saved = "" if config.features else " and saved"
        say(
            f"train: stopped after step {at.step}{saved}; go on with: train --resume --run "
            f"{result.run}"
        )
    else:
        say(f"train: {at.step} steps, {at.epoch} epochs{best}{lost}; everything is in {result.run}")
    return result.exit_code


def _plan(
    values: dict[str, Any], given: set[str], say: _Speaker
) -> tuple[TrainConfig, Path | None, dict[str, str] | None]:
    """The configuration, the run folder if named, and the manifests' hashes if they must be known
    ones.
    """
    from unmask.pipeline.runs.newest import newest_run
    from unmask.pipeline.runs.repeat import go_on, repeat

    run, changes = values["run"], {name: values[name] for name in given - {"run", "runs"}}
    if values["resume"]:
        run = run or newest_run(values["runs"])
        again = go_on(run, {n: v for n, v in changes.items() if n != "resume"})
        say(f"train: going on with {run}")
        return again.config, run, again.expected
    if run is not None and (run / "run.json").exists():
        raise UsageError(
            f"{run}: there is a run already; go on with --resume, or name another folder"
        )
    if values["from_run"] is not None:
        again = repeat(values["from_run"], {n: v for n, v in changes.items() if n != "from_run"})
        return again.config, run, again.expected
    return _fresh(values, given, say), run, None


def _fresh(values: dict[str, Any], given: set[str], say: _Speaker) -> TrainConfig:
    from unmask.models import typed_options
    from unmask.models.recipes.recipes import list_recipes, parse_overrides

    manifest = values["manifest"] or _only_manifest()
    val = values["val"] or manifest.with_name("val" + manifest.suffix)
    if values["val"] is None and not values["no_val"] and not val.is_file():
        say(f"train: no {val}, so no validation")
    known = values["val"] is not None or val.is_file()
    if values["features"] and "model" not in given:
        values["model"] = "encoder"
    first = "probe" if values["features"] else list_recipes(values["model"])[0]
    recipe = values["recipe"] or first
    overrides = {
        name: values[name] for name in ("epochs", "batch", "balance") if values[name] is not None
    }
    config = TrainConfig(
        manifest=str(manifest),
        val=str(val) if known and not values["no_val"] else "",
        cache=str(values["cache"]),
        store=str(values["store"]),
        options=typed_options(values["model"], values["options"]),
        recipe=recipe,
        overrides={**parse_overrides(values["overrides"]), **overrides},
        **{
            field.name: values[field.name]
            for field in fields(TrainConfig)
            if field.name in values and field.name not in JOINED
        },
    )
    taken = {
        "manifest": config.manifest,
        "val": config.val or "none",
        "model": config.model,
        "recipe": recipe,
    }
    say(
        f"train: took {', '.join(f'{n} {v}' for n, v in taken.items() if n not in given)}",
        when=set(taken) - given,
    )
    return config


def _only_manifest() -> Path:
    found = sorted(Path("manifests").glob("*/*/train.txt"))
    if len(found) != 1:
        several = (
            f"there are {', '.join(str(path) for path in found[:5])}"
            if found
            else "extract writes them"
        )
        raise UsageError(
            f"name a manifest: --manifest manifests/<dataset>/<compression>/train.txt; {several}"
        )
    return found[0]


class _Speaker:
    """Lines and the progress bar of the first process; a closed terminal or pipe silences it and
    stops nothing.
    """

    def __init__(self) -> None:
        self.mute = os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("RANK", "0") != "0"
        self.bar: tqdm | None = None
        self.epoch = 0

    def __call__(self, text: str, when: object = True) -> None:
        if when and not self.mute:
            try:
                tqdm.write(text, file=sys.stdout) if self.bar is not None else click.echo(text)
            except OSError:
                self.mute = True

    def __enter__(self) -> _Speaker:
        return self

    def __exit__(self, *reason: object) -> None:
        if self.bar is not None:
            try:
                self.bar.close()
            except OSError:
                self.mute = True
            self.bar = None

    def started(self, run: Started) -> None:
        """The run is about to begin: say where and on what, and open the bar."""
        missing = f", {run.missing} missing" if run.missing else ""
        self(
            f"train: {run.model} ({run.parameters:,} parameters) on {run.videos:,} videos"
            f"{missing}, {run.steps:,} steps, {run.device} {run.precision}; run {run.run}"
        )
        for warning in run.warnings:
            self(f"train: {warning}")
        if not self.mute:
            quiet = not sys.stderr.isatty()
            self.epoch = run.epoch
            self.bar = tqdm(
                total=run.steps,
                initial=run.step,
                unit="step",
                disable=quiet,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {postfix}",
            )

    def progress(self, live: Live) -> None:
        """One step is done."""
        if self.mute or self.bar is None:
            return
        loss = "skipped" if live.loss is None else f"{live.loss:.4f}"
        auc = "" if live.auc is None else f" AUC {live.auc:.4f}"
        speed = f"{live.clips_per_second:.1f} clips/s, {100 * live.wait:.1f} % waiting for data"
        try:
            self.bar.set_postfix_str(
                f"loss {loss}{auc}, {speed}, {_span(live.left)} left", refresh=False
            )
            self.bar.update()
            if self.bar.disable and live.epoch != self.epoch:
                self(
                    f"train: {live.epoch} epochs, step {live.step} of {live.steps}, loss "
                    f"{loss}{auc}, {speed}"
                )
        except OSError:
            self.mute = True
        self.epoch = live.epoch


def _span(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
