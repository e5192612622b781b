"""The quality of a data set on the terminal: options and words of `datasets --quality`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.commands.field_options import field_option
from unmask.pipeline.config import QualityConfig
from unmask.pipeline.errors import EXIT_OK, EXIT_REFUSED, EXIT_SOME_FAILED, UsageError

if TYPE_CHECKING:
    from unmask.pipeline.quality.networks import Network

DEFAULTS = QualityConfig()
# --seed is the command's own.
OPTIONS = {
    "cache": "root of the crops.",
    "key": "which crops, where there are several settings.",
    "pairs": "of each method at most, 0: all.",
    "clips": "of each pair, 0: all.",
    "least_pairs": "a method with fewer is not rated.",
    "mask": "where a fake is forged; auto: published where all have one, else difference.",
    "ssim": "mean over the mask, or of masked pictures over everything.",
    "erode": "px that the mask loses for SSIM.",
    "flow": "of the warping error.",
    "perceptual": "networks, by commas: lpips-alex, lpips-squeeze, lpips-vgg, vgg19-l1, "
    "resnet18, lite0; '' for none.",
    "features": "lite0, resnet18, or the key of stored ones (auto: the only one); '' for none.",
    "store": "root of stored features.",
    "resamples": "of the intervals.",
}
LEAST = {"pairs": 0, "clips": 0, "least_pairs": 1, "erode": 0, "resamples": 1}


def quality_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every option of --quality on a command."""
    for name, text in reversed(OPTIONS.items()):
        shown = f"With --quality: {text}"
        command = field_option(DEFAULTS, name, shown, least=LEAST.get(name))(command)
    return command


def quality_config(words: dict[str, Any], seed: int, asked: bool) -> QualityConfig:
    """The options taken out of a command's words. Raises UsageError for one that --quality alone
    has.
    """
    taken = {name: words.pop(name) for name in OPTIONS}
    config = QualityConfig(**taken, seed=seed)
    if not asked:
        for field in fields(QualityConfig):
            if field.name in taken and taken[field.name] != field.default:
                raise UsageError(f"--{field.name.replace('_', '-')} needs --quality")
    return config


def is_cached(config: QualityConfig, name: str) -> bool:
    """Whether the cache has a folder of that very name."""
    return Path(name).name == name and name != ".." and (Path(config.cache) / name).is_dir()


def run_quality(dataset: str, config: QualityConfig, methods: Sequence[str], target: Path) -> int:
    """Find the pairs, measure and rate them, print and write what was found."""
    from tqdm import tqdm

    from unmask.models.options import ModelError
    from unmask.pipeline.errors import CacheError
    from unmask.pipeline.quality.flow import open_flow
    from unmask.pipeline.quality.measure import Tools, measure_all
    from unmask.pipeline.quality.page import Quality, brief_table, quality_words, write_quality
    from unmask.pipeline.quality.pairs import find_pairs
    from unmask.pipeline.quality.rating import rate
    from unmask.pipeline.quality.space import Encoder, space_of
    from unmask.pipeline.reports.printable import printable
    from unmask.pipeline.reports.tables import terminal

    try:
        flow, flow_mark = open_flow(config.flow)
    except ModelError as error:
        raise UsageError(f"--flow {config.flow}: {error}") from error
    networks, absent = _networks(config.perceptual)
    encoder, stored = _encoder(config.features, absent)
    pairs = find_pairs(dataset, config, methods)
    if stored and pairs.pairs:
        Encoder(config, pairs.pairs, None)  # refused now, not after everything is measured
    quiet = not sys.stderr.isatty()
    with tqdm(total=len(pairs.pairs), unit="pair", desc="pairs", disable=quiet) as bar:
        kept = target.with_name(f"{target.name}.jsonl")
        tools = Tools(flow, flow_mark, tuple(networks))
        rows, unread = measure_all(pairs.pairs, config, tools, kept, bar.update)
    few = {rating.kind for rating in rate(rows, config) if rating.refused}
    read = {row.video_id for row in rows}
    shown = [p for p in pairs.pairs if p.kind not in few and p.video_id in read]
    space = None
    if shown and (encoder is not None or stored):
        with tqdm(total=len(shown), unit="pair", desc="features", disable=quiet) as bar:
            try:
                space = space_of(shown, config, encoder, bar.update)
            except CacheError as error:
                absent.append(("feature space", str(error)))
    quality = Quality(
        dataset=dataset,
        config=config,
        pairs=pairs,
        ratings=tuple(rate(rows, config, space)),
        networks=tuple(networks),
        absent=tuple(absent),
        unread=tuple(unread),
        space=space,
        flow_mark=flow_mark,
    )
    click.echo(f"Quality of {printable(dataset)}, crops {printable(pairs.key)}\n")
    if quality.ratings:
        click.echo(f"{terminal(brief_table(quality))}\n")
    for line in quality_words(quality):
        click.echo(printable(line))
    files = write_quality(quality, target, f"Quality of {dataset}")
    if not quality.rated:
        click.echo(f"\nno method has enough pairs that can be compared; page: {files[1]}")
        return EXIT_REFUSED
    click.echo(f"\npage: {files[1]}; a row for each pair: {kept}")
    return EXIT_SOME_FAILED if unread else EXIT_OK


def _networks(names: str) -> tuple[list[Network], list[tuple[str, str]]]:
    """Those whose weights are here, and why the others are not."""
    from unmask.models.options import ModelError
    from unmask.pipeline.errors import CheckpointError
    from unmask.pipeline.quality.networks import open_network

    found, absent = [], []
    for name in dict.fromkeys(word.strip() for word in names.split(",") if word.strip()):
        try:
            found.append(open_network(name))
        except (ModelError, CheckpointError) as error:
            absent.append((name, str(error)))
    return found, absent


def _encoder(name: str, absent: list[tuple[str, str]]) -> tuple[Network | None, bool]:
    """(the network whose features are compared, whether they are stored ones)."""
    from unmask.pipeline.quality.networks import KINDS, POOLED, RANDOM

    short = name.partition(RANDOM)[0]
    if not name or short not in KINDS:
        return None, bool(name)
    if short not in POOLED:
        raise UsageError(f"--features {name:.80}: takes {', '.join(POOLED)} or a stored key")
    found, missing = _networks(name)
    absent += [("feature space", why) for _, why in missing]
    return (found[0] if found else None), False
