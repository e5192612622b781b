"""extract: from a dataset folder to crops in the cache and manifests."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from tqdm import tqdm

from unmask.commands.numbers import JOBS, SEED, Number
from unmask.pipeline.config import CodecName, CropConfig, ExtractConfig, Limits
from unmask.pipeline.errors import EXIT_BUG, EXIT_OK, EXIT_SOME_FAILED, UsageError
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.reports.printable import printable
from unmask.pipeline.sources.splits import read_ratio

if TYPE_CHECKING:
    from unmask.pipeline.records import Outcome
    from unmask.pipeline.sources.dataset import Dataset

CROP, LIMITS, RUN = CropConfig(), Limits(), ExtractConfig()
WORDS = {REAL: "real", FAKE: "fake"}


def shard_of(text: str) -> tuple[int, int]:
    """`2/8` -> (2, 8). Raises: UsageError."""
    try:
        part, parts = (int(word) for word in text.split("/"))
    except ValueError:
        part, parts = 0, 0
    if not 1 <= part <= parts:
        raise UsageError(f"--shard {text!r}: expected K/N with 1 <= K <= N, for example 2/8")
    return part, parts


@click.command(name="extract")
@click.option(
    "--dataset",
    required=True,
    metavar="NAME",
    help="ffpp, folder, celebdf2, ... (see: unmask datasets).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Where it lies.  [default: $UNMASK_DATA/NAME or data/NAME]",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default="cache",
    show_default=True,
    help="Crops go here.",
)
@click.option(
    "--manifests", type=click.Path(path_type=Path), default="manifests", show_default=True
)
@click.option("--name", help="Call the dataset so in cache and manifests (folder and csv).")
@click.option("--compression", default="c23", show_default=True, help="FF++: raw, c23 or c40.")
@click.option(
    "--methods", help="Only these manipulation methods, comma-separated; reals always come along."
)
@click.option(
    "--splits", type=click.Path(path_type=Path), help="Folder with the official split lists."
)
@click.option(
    "--reals",
    type=click.Path(path_type=Path),
    help="Root of the dataset that holds the reals, if another.",
)
@click.option("--split-ratio", help="Make train,val,test by leakage group, e.g. 0.7,0.15,0.15.")
@click.option(
    "--seed", type=SEED, default=1, show_default=True, help="Of splits that are not official."
)
@click.option(
    "--strict",
    is_flag=True,
    help="Drop known leaks of official splits; refuse an incomplete dataset.",
)
@click.option(
    "--label-mode",
    type=click.Choice(["visual", "audio", "any"]),
    default="visual",
    show_default=True,
)
@click.option(
    "--clips",
    type=click.IntRange(1, 4096),
    default=CROP.clips,
    show_default=True,
    help="Clips per video.",
)
@click.option(
    "--frames",
    type=click.IntRange(1, 256),
    default=CROP.frames,
    show_default=True,
    help="Consecutive frames.",
)
@click.option(
    "--size",
    type=click.IntRange(16, 2048),
    default=CROP.size,
    show_default=True,
    help="Crop side, px.",
)
@click.option(
    "--margin",
    type=Number(0.5, 4.0),
    default=CROP.margin,
    show_default=True,
    help="Crop over face.",
)
@click.option(
    "--detector", type=click.Choice(["fast", "stock"]), default=CROP.detector, show_default=True
)
@click.option(
    "--detect-size",
    type=click.IntRange(0, 16384),
    default=CROP.detect_size,
    show_default=True,
    help="Long side the detector sees, px; 0 for full size.",
)
@click.option(
    "--min-face",
    type=click.IntRange(12, 4096),
    default=CROP.min_face,
    show_default=True,
    help="Smallest face, px of the picture the detector sees (20 is careful).",
)
@click.option("--faces", type=click.Choice(["main", "all"]), default=CROP.faces, show_default=True)
@click.option("--pair-boxes", is_flag=True, help="Cut a fake exactly where its original is cut.")
@click.option("--masks", is_flag=True, help="Store manipulation masks beside the crops.")
@click.option(
    "--bands/--no-bands",
    default=CROP.bands,
    show_default=True,
    help="Store DCT bands beside the crops.",
)
@click.option(
    "--band-definition",
    type=click.Choice(["area", "linear"]),
    default=CROP.band_definition,
    show_default=True,
)
@click.option(
    "--codec", type=click.Choice(get_args(CodecName)), default=CROP.codec, show_default=True
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--jobs",
    type=JOBS,
    default=RUN.jobs,
    show_default=True,
    help="Videos at a time; -1 is one per core.",
)
@click.option(
    "--timeout",
    type=Number(1),
    default=LIMITS.seconds,
    show_default=True,
    help="Seconds per video.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(0),
    default=LIMITS.memory_mib,
    help="MiB per CPU worker; 0 is none.",
)
@click.option(
    "--limit", type=click.IntRange(0), default=RUN.limit, help="Only the first N videos; 0 is all."
)
@click.option(
    "--shard", default="1/1", show_default=True, help="K/N: this machine's part of the videos."
)
@click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="Run on a Dask cluster (pip install 'unmask[dask]') of a trusted network, or tls://.",
)
@click.option("--retry", is_flag=True, help="Try videos again that an earlier run refused.")
@click.option(
    "--lock/--no-lock", default=RUN.lock, help="Keep a second extract out of the same cache."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be done, per split, method and label; write nothing.",
)
def command(dataset: str, root: Path | None, cache: Path, manifests: Path, **options: Any) -> int:
    """Videos to aligned face crops in the cache, and manifests for training.

    \b
    unmask extract --dataset ffpp --root /data/FaceForensics++
    unmask extract --dataset folder --root my_videos     (with real/ and fake/ inside)

    Safe to stop and to run again: finished videos are skipped, no half-written one is ever visible.
    """
    from unmask.pipeline.sources.dataset import SourceOptions
    from unmask.pipeline.sources.registry import default_root, discover, resolve

    config = _config(options)
    source = resolve(dataset)
    if root is None:
        root = default_root(source.name)
        click.echo(f"root: {root} (default; set another with --root or $UNMASK_DATA)", err=True)
    ratio = read_ratio(options["split_ratio"])
    discovered = discover(
        source.name,
        root,
        SourceOptions(
            compression=options["compression"],
            methods=tuple(
                word.strip() for word in (options["methods"] or "").split(",") if word.strip()
            ),
            splits=options["splits"],
            reals=options["reals"],
            seed=options["seed"],
            strict=options["strict"],
            label_mode=options["label_mode"],
            name=options["name"],
            **({"split_ratio": ratio} if ratio else {}),
        ),
    )
    if config.limit:
        from dataclasses import replace

        discovered = replace(discovered, videos=discovered.videos[: config.limit])
    if not discovered.videos:
        raise UsageError(
            f"{root}: no videos of dataset '{discovered.name}' there; `unmask datasets "
            f"{source.name}` shows its tree"
        )
    if options["strict"]:
        _refuse_incomplete(discovered)
    for note in discovered.notes:
        click.echo(f"note: {printable(note)}", err=True)
    _tell_passed_over(discovered)
    for problem in discovered.problems:
        click.echo(f"fault: {printable(problem)}", err=True)
    if options["dry_run"]:
        return _dry_run(discovered, config, cache)
    # Rows of one's own table that name no file are faults; of an official set one has a part.
    partial = source.name != "csv" and not options["strict"]
    return _extract(discovered, config, cache, manifests, partial)


def _tell_passed_over(dataset: Dataset) -> None:
    causes = Counter(why for _, why in dataset.ignored)
    if causes:
        listed = ", ".join(f"{why} {count:,}" for why, count in causes.most_common())
        click.echo(f"passed over: {printable(listed)}", err=True)


def _config(options: dict[str, Any]) -> ExtractConfig:
    from unmask.pipeline.machine.devices import choose_device

    crop = CropConfig(
        **{
            name: options[name]
            for name in CropConfig.__dataclass_fields__
            if name in options and name != "device"
        },
        device=choose_device(options["device"]),
    )
    limits = Limits(seconds=options["timeout"], memory_mib=options["memory_limit"])
    run = {name: options[name] for name in ("jobs", "limit", "scheduler", "retry", "lock")}
    return ExtractConfig(crop=crop, limits=limits, shard=shard_of(options["shard"]), **run)


def _extract(
    dataset: Dataset, config: ExtractConfig, cache: Path, manifests: Path, partial: bool
) -> int:
    from unmask.pipeline.extraction import publish
    from unmask.pipeline.extraction import run as extraction
    from unmask.pipeline.manifests import outcomes

    started, counts = time.monotonic(), Counter()
    with tqdm(
        total=len(dataset.videos), unit="video", disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:

        def progress(outcome: Any) -> None:
            counts[outcome.status] += 1
            bar.update()
            bar.set_postfix(
                ok=counts["ok"], skipped=counts["skipped"], failed=counts["failed"], refresh=False
            )

        ended = extraction.extract(dataset.videos, config, cache, progress)
    written = publish.publish(dataset, ended, config, cache, manifests)
    for path, entries in written.items():
        click.echo(f"{path}  {entries:,} entries")
    # Also where no video was kept, and so no manifest written.
    levels = sorted({video.compression for video in dataset.videos})
    lists = [manifests / dataset.name / level / "outcomes.jsonl" for level in levels]
    click.echo(outcomes.summary(dataset.name, ended, time.monotonic() - started))
    bad = [o for o in ended if o.status != "ok"]
    for outcome in bad[:10]:
        click.echo(f"  {outcome.video_id}: {outcome.reason}  {printable(outcome.detail, 300)}")
    if len(bad) > 10:
        click.echo(f"  ... and {len(bad) - 10:,} more")
    _tell_untouched(dataset, ended)
    twofold = _tell_twofold(list(written), cache)
    _tell_missing(dataset)
    click.echo(f"crops: {extraction.cache_folder(cache, dataset.name, config.crop)}")
    click.echo(f"every video's outcome: {', '.join(map(str, lists))}")
    if any(outcome.reason == "internal_error" for outcome in bad):
        return EXIT_BUG
    unfinished = any(why == "unfinished download" for _, why in dataset.ignored)
    if bad or dataset.problems or unfinished or twofold or (dataset.missing and not partial):
        return EXIT_SOME_FAILED
    return EXIT_OK


def _dry_run(dataset: Dataset, config: ExtractConfig, cache: Path) -> int:
    from unmask.pipeline.extraction import run as extraction
    from unmask.pipeline.extraction.resume import finished

    parent = extraction.cache_folder(cache, dataset.name, config.crop)
    done = (
        [v.video_id for v in dataset.videos if finished(v, parent, config) is not None]
        if parent.exists()
        else []
    )
    rows = Counter((v.split, v.method, v.label) for v in dataset.videos)
    done_rows = Counter(
        (v.split, v.method, v.label) for v in dataset.videos if v.video_id in set(done)
    )
    click.echo(f"{'split':<8}{'method':<24}{'label':<8}{'videos':>8}{'done':>8}{'to do':>8}")
    order = {"train": 0, "val": 1, "test": 2, "none": 3}
    for row in sorted(rows, key=lambda row: (order[row[0]], row[2], row[1])):
        split, method, label = row
        left = rows[row] - done_rows[row]
        click.echo(
            f"{split:<8}{method:<24}{('real', 'fake')[label]:<8}"
            f"{rows[row]:>8,}{done_rows[row]:>8,}{left:>8,}"
        )
    click.echo(
        f"{'':<40}{rows.total():>8,}{done_rows.total():>8,}{rows.total() - done_rows.total():>8,}"
    )
    _tell_missing(dataset)
    click.echo(f"crops would go to {parent}")
    return EXIT_OK


def _refuse_incomplete(dataset: Dataset) -> None:
    """--strict: not a single video before the download is whole. Raises: UsageError with the
    counts.
    """
    unfinished = [path for path, why in dataset.ignored if why == "unfinished download"]
    if dataset.missing or unfinished:
        example = dataset.missing[0].key if dataset.missing else unfinished[0]
        raise UsageError(
            f"{dataset.root}: {len(dataset.missing):,} videos of the official lists are missing "
            f"and {len(unfinished):,} downloads are unfinished, e.g. {example!r}; complete it "
            f"(`datasets {dataset.name} "
            "--verify`), or leave "
            "--strict out"
        )


def _tell_untouched(dataset: Dataset, ended: list[Outcome]) -> None:
    from unmask.pipeline.extraction.publish import is_listed

    splits = {video.video_id: video.split for video in dataset.videos}
    left_out = sum(
        outcome.status == "ok" and not is_listed(outcome, splits[outcome.video_id])
        for outcome in ended
    )
    if left_out:
        click.echo(
            f"left out of train: {left_out:,} fakes whose mask lies on none of the faces found"
        )


def _tell_twofold(manifests: list[Path], cache: Path) -> bool:
    """Whether equal files are called real here and fake there; both names are said."""
    from unmask.pipeline.manifests.checked import read_manifest
    from unmask.pipeline.manifests.selections import contradictions

    twofold = contradictions([read_manifest(path, cache) for path in manifests])
    for one, other in twofold[:10]:
        click.echo(
            f"fault: the same file is {WORDS[one.label]} as {printable(one.folder)} and "
            f"{WORDS[other.label]} as {printable(other.folder)}"
        )
    if len(twofold) > 10:
        click.echo(f"  ... and {len(twofold) - 10:,} more")
    return bool(twofold)


def _tell_missing(dataset: Dataset) -> None:
    """One line: how much of what the official lists name is here."""
    if dataset.missing:
        here = sum(video.split_origin == "official" for video in dataset.videos)
        listed = here + len(dataset.missing)
        per_method = Counter(video.method for video in dataset.missing)
        which = ", ".join(f"{method} {count:,}" for method, count in sorted(per_method.items()))
        click.echo(
            f"{here:,} of the {listed:,} videos that the lists name are on the disk; not there: "
            f"{which}"
        )
