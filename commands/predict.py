"""predict: a verdict on your own videos."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from unmask.commands.numbers import JOBS, Number
from unmask.commands.released import PREFIX, release_options, released_run
from unmask.commands.verdict_output import COLOURS, Csv, Json, JsonLines, Rows, Spelling
from unmask.pipeline.config import VIDEO_RULES, PredictConfig
from unmask.pipeline.errors import EXIT_REFUSED, UsageError
from unmask.pipeline.reports.printable import printable

P = PredictConfig()


@click.command(name="predict")
@click.argument("videos", nargs=-1, metavar="VIDEO...")
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="DIR",
    help="A trained run; repeat for an ensemble.  [default: the newest under runs/]",
)
@click.option(
    "--model",
    "files",
    multiple=True,
    metavar="FILE|zoo:NAME",
    help="An exported .onnx or .pt2, or a released detector (`models --zoo`); repeatable.",
)
@release_options
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
@click.option(
    "--video-rule",
    "rule",
    type=click.Choice(VIDEO_RULES),
    default=P.rule,
    show_default=True,
    help="How clips make a person's score.",
)
@click.option(
    "--faces",
    type=click.Choice(["trained", "all", "main"]),
    default=P.faces,
    show_default=True,
    help="Look at every person, at the main one, or as the crops of training did.",
)
@click.option(
    "--every",
    type=Number(0),
    default=P.every,
    metavar="SECONDS",
    help="Dense timeline: a clip so often.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on standard output.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="The same, one line per video.")
@click.option("--csv", "as_csv", is_flag=True, help="One line per video as CSV on standard output.")
@click.option(
    "--annotate",
    type=click.Path(path_type=Path),
    metavar="OUT.mp4",
    help="Video with boxes and scores.",
)
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="OUT.html", help="One self-contained page."
)
@click.option(
    "--follow",
    type=click.Path(path_type=Path),
    metavar="FILE.ts",
    help="A recording that still grows.",
)
@click.option(
    "--patience",
    type=Number(0.1),
    default=10.0,
    show_default=True,
    help="--follow: seconds without growth.",
)
@click.option("--batch", type=click.IntRange(1), default=P.batch, show_default=True)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default=P.device, show_default=True
)
@click.option(
    "--jobs",
    type=JOBS,
    default=P.jobs,
    show_default=True,
    help="Videos at a time; -1 is one per core, or one on a GPU.",
)
@click.option(
    "--timeout",
    type=Number(1),
    default=P.limits.seconds,
    show_default=True,
    help="Seconds per video; of a dense timeline or a film, without progress.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(0),
    default=P.limits.memory_mib,
    show_default=True,
    help="MiB per CPU worker, its models on top; 0 is none.",
)
@click.option(
    "--anyway",
    is_flag=True,
    help="Say real or fake in spite of doubts: an untested model, a video unlike its training.",
)
@click.option("--trust-model", "trust", is_flag=True, help="Load .pt2 files, which can run code.")
def command(
    videos: tuple[str, ...],
    runs: tuple[str, ...],
    files: tuple[str, ...],
    zoo: Path,
    accepted: tuple[str, ...],
    as_json: bool,
    as_jsonl: bool,
    as_csv: bool,
    annotate: Path | None,
    report: Path | None,
    follow: Path | None,
    patience: float,
    timeout: float,
    memory_limit: int,
    **options: Any,
) -> int:
    """A verdict on your own videos: files, folders, globs.

    \b
    unmask predict interview.mp4 --run runs/0001-clrnet-ffpp-c23
    unmask predict downloads/ --csv > verdicts.csv
    unmask predict talk.mp4 --every 0.5 --annotate seen.mp4 --report talk.html
    unmask predict --follow recording.ts

    A verdict is real, fake, unsure, no face, too short or unreadable. It is unsure too where the
    model was not shown to be better than chance, was trained on drawn faces or few videos, has no
    calibration on enough videos, or is asked about faces unlike those of its training; --anyway
    gives the bare score and verdict. With several videos, --annotate and --report name folders.
    Answers come as they are known, not in the order of the videos; one that crashes, hangs or
    takes too much memory is unreadable and costs no other its verdict.

    \b
    Exit codes, the first that applies:
       4  a page or film that was asked for could not be written
      10  some video is fake
      11  some video has no verdict (unsure, no face, too short)
       3  some video is unreadable
       0  all real
    """
    if as_json + as_jsonl + as_csv > 1:
        raise UsageError("--json, --jsonl and --csv all want standard output; take one")
    if follow is not None and (videos or annotate or report or as_csv):
        raise UsageError(
            "--follow takes no VIDEO, --annotate, --report or --csv; when it is over, predict "
            "the file"
        )
    if follow is None and not videos:
        raise UsageError("which videos? predict VIDEO... --run DIR")
    files = tuple(
        released_run(name, zoo, accepted) if name.startswith(PREFIX) else name for name in files
    )
    limits = replace(P.limits, seconds=timeout, memory_mib=memory_limit)
    config = PredictConfig(models=_models(runs, files), limits=limits, **options)
    if follow is not None:
        return _follow(follow, config, patience, as_json or as_jsonl)
    spelling = Json if as_json else JsonLines if as_jsonl else Csv if as_csv else Rows
    return _predict(videos, config, annotate, report, spelling)


def _models(runs: tuple[str, ...], files: tuple[str, ...]) -> tuple[str, ...]:
    if runs or files:
        return (*runs, *files)
    from unmask.pipeline.prediction.shipped import NONE_SHIPS, shipped_run
    from unmask.pipeline.runs.newest import list_runs, newest_answering_run

    if not list_runs(Path("runs")):
        if (shipped := shipped_run()) is None:
            raise UsageError(NONE_SHIPS)
        click.echo("run: the one that came with unmask (another with --run)", err=True)
        return (str(shipped),)
    newest = newest_answering_run(Path("runs"))
    click.echo(f"run: {newest} (newest with a checkpoint; another with --run)", err=True)
    return (str(newest),)


def _predict(
    videos: tuple[str, ...],
    config: PredictConfig,
    annotate: Path | None,
    report: Path | None,
    spelling: type[Spelling],
) -> int:
    from unmask.pipeline.prediction.answers import answers
    from unmask.pipeline.prediction.inputs import expand
    from unmask.pipeline.prediction.jobs import Job, Note
    from unmask.pipeline.prediction.verdicts import Prediction, exit_code

    paths = expand(videos)
    pages, films = _targets(report, paths, ".html"), _targets(annotate, paths, ".mp4")
    jobs = [Job(path, pages.get(path), films.get(path)) for path in paths]
    verdicts, failed = [], False
    shares: dict[Job, float] = {}
    quiet = not sys.stderr.isatty()
    with (
        tqdm(total=len(paths), unit="video", disable=quiet, leave=False) as bar,
        spelling(paths) as out,
    ):
        for job, value in answers(jobs, config):
            # What is written meanwhile pushes the bar away instead of running into it.
            with tqdm.external_write_mode():
                if job is None:
                    _tell(value)
                    out.begin(value)
                elif isinstance(value, Prediction):
                    verdicts.append(value.verdict)
                    out.add(value)
                elif isinstance(value, Note):
                    failed |= value.failed
                    click.echo(printable(value.text), err=True)
            if job is not None:
                shares[job] = value if isinstance(value, float) else 1.0
                bar.n = round(sum(shares.values()), 2)
                bar.refresh()
    return EXIT_REFUSED if failed else exit_code(verdicts)


def _targets(out: Path | None, paths: list[Path], suffix: str) -> dict[Path, Path]:
    """Where each video's page or film goes: the named file for one video, files in the named
    folder for several.
    """
    if out is None:
        return {}
    if len(paths) == 1 and not out.is_dir():
        if out.suffix.lower() != suffix:
            raise UsageError(f"{out}: expected a name that ends with {suffix}")
        return _apart({paths[0]: out})
    if out.suffix.lower() == suffix:
        raise UsageError(f"{out}: {len(paths)} videos need a folder, not one file")
    names: dict[str, int] = {}
    targets = {}
    for path in paths:
        number = names[path.stem] = names.get(path.stem, 0) + 1
        targets[path] = out / f"{path.stem}{f'-{number}' if number > 1 else ''}{suffix}"
    return _apart(targets)


def _apart(targets: dict[Path, Path]) -> dict[Path, Path]:
    """The same targets when none of them is a video that is read. Raises: UsageError."""
    sources = {path.resolve() for path in targets}
    for target in targets.values():
        if target.resolve() in sources:
            raise UsageError(f"{target}: would replace a video that is read; take another name")
    return targets


def _tell(models: Any) -> None:
    """What is doubtful about the models, once, before any video is read."""
    for model in models:
        for line in model.doubts:
            click.echo(f"doubt: {printable(model.name)}: {printable(line)}", err=True)
    for line in dict.fromkeys(line for model in models for line in model.cautions):
        click.echo(f"caution: {printable(line)}", err=True)


def _follow(path: Path, config: PredictConfig, patience: float, as_json: bool) -> int:
    import json

    from unmask.pipeline.prediction.live import follow_recording
    from unmask.pipeline.prediction.predict import open_scorers
    from unmask.pipeline.prediction.verdicts import exit_code

    scorers = open_scorers(config)
    _tell(scorers)
    verdict, update = "too short", None
    try:
        for update in follow_recording(path, scorers, config, patience):
            verdict = update.prediction.verdict
            if as_json:
                values = {"time": update.time, "verdict": verdict, "score": update.prediction.score}
                values |= {"doubts": update.prediction.doubts}
                click.echo(json.dumps(values | {"now": update.now, "ratio": update.ratio}))
            else:
                click.secho(update.line(), fg=COLOURS.get(verdict))
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    name = printable(path.name)
    if update is None:
        click.echo(f"{name}: too short, no clip in it", err=True)
    else:
        click.echo(
            f"{name}: {verdict}, {update.prediction.reason}; {update.ratio:.1f} x real time "
            f"({update.time:.1f} s of recording in {update.work:.1f} s of work)",
            err=True,
        )
    return exit_code([verdict])
