"""evaluate: score manifests with a trained run, with intervals and a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from unmask.commands.numbers import SEED, Number
from unmask.commands.released import PREFIX, release_options, released_run
from unmask.pipeline.config import PERSON_RULES, PROTOCOL_NAMES, VIDEO_RULES, EvaluateConfig
from unmask.pipeline.errors import EXIT_OK, UsageError
from unmask.pipeline.runs.newest import newest_answering_run
from unmask.pipeline.runs.run_folder import open_run

if TYPE_CHECKING:
    from unmask.pipeline.scores.evaluation_folder import Evaluation

E = EvaluateConfig()


@click.command(name="evaluate")
@click.option(
    "--manifest",
    "manifests",
    multiple=True,
    metavar="FILE",
    help="Repeat for a cross-dataset table.  [default: test.txt beside the training manifest]",
)
@click.option(
    "--run",
    default=E.run,
    metavar="DIR",
    help="The trained run.  [default: the newest under --runs that has a checkpoint]",
)
@click.option(
    "--model",
    default="",
    metavar="zoo:NAME",
    help="A released detector in place of a run; `models --zoo` lists them.",
)
@release_options
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default="runs",
    show_default=True,
    help="Where runs lie.",
)
@click.option(
    "--which",
    type=click.Choice(["best", "last"]),
    default=E.which,
    show_default=True,
    help="Checkpoint.",
)
@click.option("--cache", default=E.cache, show_default=True, help="Where the crops lie.")
@click.option(
    "--out",
    default=E.out,
    metavar="DIR",
    help="Where to write; a calibration goes into the run all the same.  "
    "[default: RUN/evaluations]",
)
@click.option(
    "--video-level", is_flag=True, help="Print the video level only; both are always computed."
)
@click.option(
    "--video-rule",
    "rule",
    type=click.Choice(VIDEO_RULES),
    default=E.rule,
    show_default=True,
    help="How clips make a video's score.",
)
@click.option(
    "--person-rule",
    "tracks",
    type=click.Choice(PERSON_RULES),
    default=E.tracks,
    show_default=True,
    help="How several persons do.",
)
@click.option(
    "--threshold",
    type=Number(0, 1),
    default=E.threshold,
    show_default=True,
    help="Fake from here on.",
)
@click.option(
    "--threshold-from",
    default=E.threshold_from,
    metavar="PATH",
    help="Validation manifest, scores.csv or evaluation folder that chooses threshold, "
    "temperature and unsure zone.",
)
@click.option(
    "--threshold-rule",
    type=click.Choice(["balanced", "eer"]),
    default=E.threshold_rule,
    show_default=True,
)
@click.option(
    "--error",
    "--unsure-error",
    "error",
    type=Number(0, 0.5),
    default=E.error,
    show_default=True,
    help="Share of each class that may get the wrong verdict; the zone of no verdict keeps it.",
)
@click.option(
    "--zone",
    type=click.Choice(["conformal", "counted"]),
    default=E.zone,
    show_default=True,
    help="Whether that holds for new videos like those of validation, or for these themselves.",
)
@click.option(
    "--resamples",
    type=click.IntRange(0, 100_000),
    default=E.resamples,
    show_default=True,
    help="Bootstrap; 0: no intervals.",
)
@click.option("--seed", type=SEED, default=E.seed, show_default=True, help="Of the bootstrap.")
@click.option(
    "--clips",
    type=click.IntRange(0),
    default=E.clips,
    show_default=True,
    help="Samples per video; 0: all.",
)
@click.option("--batch", type=click.IntRange(1), default=E.batch, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=E.threads,
    show_default=True,
    help="That read the cache.",
)
@click.option(
    "--bands",
    type=click.Choice(["auto", "cached", "computed"]),
    default=E.bands,
    show_default=True,
    help="DCT bands of models that eat them: from the cache, or made of the pixels.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default=E.device, show_default=True
)
@click.option(
    "--half", is_flag=True, help="bfloat16; quicker on a GPU, scores differ in the third digit."
)
@click.option(
    "--robustness",
    is_flag=True,
    help="What is left under distortions, codecs, platforms, other frame rates and watermarks.",
)
@click.option(
    "--robust-videos",
    type=click.IntRange(0),
    default=E.robust_videos,
    show_default=True,
    help="Per class; 0: all.",
)
@click.option(
    "--robust-clips",
    type=click.IntRange(0),
    default=E.robust_clips,
    show_default=True,
    help="Per video; 0: all.",
)
@click.option(
    "--robust-kind",
    "robust_kinds",
    multiple=True,
    metavar="NAME",
    help="Robustness in these alone; repeat for several, such as H265, MSG.  [default: all]",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOL_NAMES),
    help="Published numbers beside the measured ones.",
)
@click.option(
    "--explain",
    type=click.IntRange(0),
    default=E.explain,
    show_default=True,
    help="Videos per class, farthest from their label, that are shown.",
)
@click.option(
    "--pictures/--no-pictures", default=E.pictures, help="Curves and the map of features."
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Score what is in the cache and count the rest as missing.",
)
@click.option(
    "--allow-leakage", is_flag=True, help="Score videos that training has seen, and say so."
)
@click.option(
    "--other-pixels",
    is_flag=True,
    help="Score crops of other settings than in training, and say so.",
)
@click.option(
    "--probe",
    is_flag=False,
    flag_value="auto",
    default=E.probe,
    metavar="[KEY]",
    help="A linear probe on stored features beside the model; without KEY on the only ones there "
    "are.",
)
@click.option("--store", default=E.store, show_default=True, help="Root of the features.")
@click.option(
    "--seeds",
    is_flag=True,
    help="Every run beside this one that differs by its seed only; mean and deviation.",
)
def command(
    runs: Path,
    model: str,
    zoo: Path,
    accepted: tuple[str, ...],
    video_level: bool,
    protocol: str | None,
    seeds: bool,
    **options: Any,
) -> int:
    """Score manifests with a trained run: ACC, AUC, EER and more with intervals, per method, on one
    page.

    \b
    unmask evaluate --video-level                      the newest run on its test.txt
    unmask evaluate --run runs/0001-clrnet --manifest manifests/celebdf2/none/test.txt
    unmask evaluate --threshold-from manifests/ffpp/c23/val.txt
    unmask evaluate --model zoo:meso4 --manifest manifests/celebdf2/none/test.txt
    """
    from unmask.pipeline.evaluation import protocols
    from unmask.pipeline.evaluation.evaluate import across, evaluate
    from unmask.pipeline.scores.metrics import brief_keys

    options["manifests"] = tuple(options["manifests"])
    options["robustness"] |= bool(options["robust_kinds"])
    if model:
        options["run"] = _released(model, options["run"], zoo, accepted)
    config, taken = defaults(EvaluateConfig(protocol=protocol or "", **options), runs)
    for line in taken:
        click.echo(line, err=True)
    if seeds:
        return _every_seed(config)
    with Bar() as bar:
        results = evaluate(config, bar)
    for result in results:
        _show(result, video_level)
    if len(results) > 1 or config.protocol:
        published = protocols.find_protocol(config.protocol) if config.protocol else None
        _tables(across(results, published, brief_keys()), len(results) > 1)
    for result in results:
        click.echo(f"report: {result.folder / 'report.html'}")
    return EXIT_OK


def _every_seed(config: EvaluateConfig) -> int:
    """The runs of one experiment one after the other, and every number over them."""
    from unmask.pipeline.evaluation.evaluate import evaluate
    from unmask.pipeline.reports.printable import printable
    from unmask.pipeline.runs.seeds import siblings
    from unmask.pipeline.scores.metrics import METRICS, brief_keys
    from unmask.pipeline.scores.spread import spread

    runs = siblings(Path(config.run))
    values: dict[str, dict[str, list[float]]] = {}
    cautions: dict[str, dict[str, None]] = {}
    for run in runs:
        out = str(Path(config.out) / run.folder.name) if config.out else ""
        with Bar() as bar:
            results = evaluate(replace(config, run=str(run.folder), out=out), bar)
        for result in results:
            click.echo(f"seed {run.config.seed}, {result.name}: {result.folder / 'report.html'}")
            cautions.setdefault(result.name, {}).update(dict.fromkeys(result.cautions))
            for key in brief_keys():
                value = result.result.video.measure(key).value
                if value is not None:
                    values.setdefault(result.name, {}).setdefault(key, []).append(value)
    for name, metrics in values.items():
        click.echo(f"\n{name}, video level, over {len(runs)} seeds")
        for caution in cautions[name]:
            click.echo(f"caution: {printable(caution)}")
        for key, numbers in metrics.items():
            click.echo(f"  {METRICS[key].name:<12} {spread(numbers)}")
    return EXIT_OK


def _released(model: str, run: str, zoo: Path, accepted: tuple[str, ...]) -> str:
    """The run folder of `--model zoo:NAME`. Raises UsageError, CheckpointError."""
    if run:
        raise UsageError("--run and --model exclude each other; leave one out")
    if not model.startswith(PREFIX):
        raise UsageError(f"--model {model}: expected zoo:NAME; `models --zoo` lists them")
    return released_run(model, zoo, accepted)


class Bar:
    """One progress bar per thing that is scored; silent when nobody looks."""

    def __init__(self) -> None:
        self.what, self.bar = "", None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self.what:
            self.close()
            self.what, self.bar = (
                what,
                tqdm(total=total, desc=what, unit="clip", disable=None, leave=False),
            )
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _show(evaluation: Evaluation, video_level: bool) -> None:
    from unmask.commands.metrics import show
    from unmask.pipeline.reports.printable import printable

    click.echo(f"\n{printable(evaluation.name)}")
    for caution in evaluation.cautions:
        click.echo(f"caution: {printable(caution)}")
    show(evaluation.result, video_level)
    if evaluation.probe is not None:
        from unmask.pipeline.evaluation.probe import beside
        from unmask.pipeline.reports.tables import terminal

        table = beside(evaluation.result.video, evaluation.probe)
        click.echo(f"\n{table.title}\n{terminal(table)}")
    coverage = evaluation.result.coverage
    unknown = "" if coverage.known else " (no list of outcomes beside the manifest)"
    absent = sum(coverage.absent)
    click.echo(
        f"\nscored {sum(coverage.scored)}, refused by extraction {sum(coverage.failed)}{unknown}, "
        f"missing {sum(coverage.missing)} videos"
        f"{f'; never on this disk: {absent}' if absent else ''}"
    )


def _tables(tables: Any, several: bool) -> None:
    from unmask.pipeline.reports.tables import terminal

    for table, stem in tables:
        if stem != "across" or several:
            click.echo(f"\n{table.title}\n{terminal(table)}")
    click.echo()


def defaults(config: EvaluateConfig, runs: Path) -> tuple[EvaluateConfig, list[str]]:
    """The short form: newest run under `runs` that has a checkpoint, and the test.txt beside its
    training manifest; and what was taken.

    Raises UsageError when there is no run or no such manifest.
    """
    taken = []
    if not config.run:
        config = replace(config, run=str(newest_answering_run(runs, config.which)))
        taken.append(f"run: {config.run} (newest with a checkpoint; another with --run)")
    run = open_run(Path(config.run))
    if not config.manifests and not run.config.manifest:
        raise UsageError(f"{config.run} is a release: name what to score with --manifest")
    if not config.manifests:
        path = run.manifest.with_name("test.txt")
        if not path.is_file():
            raise UsageError(
                f"{path}: no such manifest beside the run's training manifest; name one with "
                "--manifest"
            )
        config = replace(config, manifests=(str(path),))
        taken.append(f"manifest: {path} (beside the training manifest; another with --manifest)")
    if (
        config.cache == EvaluateConfig.cache
        and run.config.cache != config.cache
        and not Path(config.cache).is_dir()
    ):
        config = replace(config, cache=run.config.cache)
        taken.append(f"cache: {config.cache} (as in training)")
    return config, taken
