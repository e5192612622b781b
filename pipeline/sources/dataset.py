"""What an adapter is asked (SourceOptions), what it yields (Dataset), how it describes itself
(Source), and how its
finds become a Dataset: sorted, named, split and filtered in one way for all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unmask.pipeline.records import FAKE, REAL, Video

LabelMode = Literal["visual", "audio", "any"]

# A file of this name says that all people below its folder are drawn.
DRAWN_MARKER = "DRAWN.txt"


@dataclass(frozen=True)
class SourceOptions:
    """What the user may ask of any dataset; an adapter ignores what its dataset does not have.

    compression: of FF++-like trees, raw, c23 or c40.
    methods: manipulation methods to keep, empty for the usual.
    splits: folder (or file) of official lists that lie elsewhere.
    split_ratio: None for the official splits, else shares of train, val, test; where there are no
        official ones None means (0.70, 0.15, 0.15).
    seed: for those.
    strict: drop what is known to leak between official splits.
    label_mode: which modality makes a video fake.
    name: of a `folder` or `csv` dataset, and of its cache folder.
    reals: root of the dataset that holds the reals, where they come from another one (DF-TIMIT,
        DeeperForensics, SR-DF).
    """

    compression: str = "c23"
    methods: tuple[str, ...] = ()
    splits: Path | None = None
    split_ratio: tuple[float, float, float] | None = None
    seed: int = 1
    strict: bool = False
    label_mode: LabelMode = "visual"
    name: str | None = None
    reals: Path | None = None


@dataclass(frozen=True)
class Expected:
    """How many videos the owners state; sure only where that was verified, otherwise a difference
    is just told.
    """

    count: int
    label: int | None = None
    method: str | None = None
    split: str | None = None
    sure: bool = False

    def fits(self, video: Video) -> bool:
        return (
            self.label in (None, video.label)
            and self.method in (None, video.method)
            and self.split in (None, video.split)
        )

    def __str__(self) -> str:
        label = {None: "videos", REAL: "reals", FAKE: "fakes"}[self.label]
        return " ".join(part for part in (self.split, self.method, label) if part)


@dataclass(frozen=True)
class Dataset:
    """All videos of one dataset on this disk, sorted by key.

    missing: videos an official list names and the disk lacks (path is where they belong).
    unlisted: files no list names.
    ignored: (path, why) of what is no media.
    notes: what a reader of results should know.
    problems: contradictions between lists, labels, pairs and disk; verify exits 3 for them.
    Paths in unlisted and ignored are relative to root.
    """

    name: str
    root: Path
    videos: tuple[Video, ...]
    missing: tuple[Video, ...] = ()
    unlisted: tuple[str, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True)
class Source:
    """One dataset layout, in words for the user and as the function that reads it.

    kind, size, access, licence, tasks: one phrase each.
    tree: the expected folders.
    labels, splits: how derived.
    """

    name: str
    title: str
    kind: str
    size: str
    access: str
    licence: str
    tasks: str
    tree: str
    labels: str
    splits: str
    discover: Callable[[Path, SourceOptions], Dataset]
    aliases: tuple[str, ...] = ()


def data_root(name: str) -> Path:
    """Where a dataset lies when nobody says: `$UNMASK_DATA/<name>`, else `data/<name>`."""
    return Path(os.environ.get("UNMASK_DATA") or "data") / name
