"""Is a dataset on disk what its owners ship? Counts, pairs, leakage and readability, without
decoding anything.
"""

from __future__ import annotations

import os
import stat
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, SPLITS, Video
from unmask.pipeline.sources.dataset import Dataset
from unmask.pipeline.sources.listing import natural

UNFINISHED = "unfinished download"


@dataclass(frozen=True)
class Row:
    """Counts of one split, method and label; expected are the videos the lists name, found or
    not.
    """

    split: str
    method: str
    label: int
    expected: int
    found: int
    missing: int
    unreadable: int


@dataclass
class Report:
    """What verify found.

    faults: what is off, one line each; empty means all is well.
    warnings: differences from numbers that are only believed, and files no list names.
    unreadable: (key, why).
    probes: one per video when asked for.
    """

    dataset: str
    root: str
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class Probe:
    """One opened file: what it is, or the reason why it cannot be used."""

    key: str
    codec: str = ""
    pixel_format: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    flags: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


def audit(dataset: Dataset) -> Report:
    """Compare a discovered dataset with its lists, its owners' numbers and itself; one stat per
    file, no decoding.
    """
    unreadable = [
        (video.key, why) for video in dataset.videos if (why := why_unreadable(video.path))
    ]
    report = Report(dataset.name, os.fspath(dataset.root), unreadable=unreadable)
    report.rows = _rows(dataset, {key for key, _ in unreadable})
    report.missing = [video.key for video in dataset.missing]
    report.unlisted, report.ignored = list(dataset.unlisted), list(dataset.ignored)
    report.faults, report.notes = list(dataset.problems), list(dataset.notes)
    _count(report, dataset)
    _name_absent_methods(report)
    _check_pairs(report, dataset)
    _check_leakage(report, dataset)
    return report


def why_unreadable(path: Path) -> str:
    """Why a file or picture folder cannot be read, or ""; looks, never opens, so a FIFO does not
    block.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        return error.strerror or "cannot be looked at"
    if not os.access(path, os.R_OK):
        return "no permission to read"
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return "" if status.st_size else "zero bytes"


def _rows(dataset: Dataset, unreadable: set[str]) -> list[Row]:
    found = Counter(map(_cell, dataset.videos))
    missing = Counter(map(_cell, dataset.missing))
    broken = Counter(_cell(video) for video in dataset.videos if video.key in unreadable)
    order = {split: place for place, split in enumerate((*SPLITS, "none"))}
    cells = sorted({*found, *missing}, key=lambda cell: (order[cell[0]], cell[2], natural(cell[1])))
    return [Row(*c, found[c] + missing[c], found[c], missing[c], broken[c]) for c in cells]


def _cell(video: Video) -> tuple[str, str, int]:
    return video.split, video.method, video.label


def _count(report: Report, dataset: Dataset) -> None:
    """Missing, unreadable and half-loaded files are faults; so are counts that differ from
    verified ones.
    """
    partial = sum(why == UNFINISHED for _, why in report.ignored)
    for number, what in (
        (len(report.missing), "videos that the lists name and the disk lacks"),
        (len(report.unreadable), "unreadable files"),
        (partial, "unfinished downloads"),
    ):
        if number:
            report.faults.append(f"{what}: {number}")
    if report.unlisted:
        report.warnings.append(f"files that no list names, not used: {len(report.unlisted)}")
    for expected in dataset.expected:
        found = sum(map(expected.fits, dataset.videos))
        if found != expected.count:
            into = report.faults if expected.sure else report.warnings
            into.append(f"{expected}: {expected.count} published, {found} found")


def _name_absent_methods(report: Report) -> None:
    """A method of which nothing is there was most likely never downloaded: say how to do without
    it.
    """
    found = Counter[str]()
    for row in report.rows:
        if row.label == FAKE:
            found[row.method] += row.found
    present, absent = [m for m, n in found.items() if n], [m for m, n in found.items() if not n]
    if present and absent:
        report.notes.append(
            f"nothing of {', '.join(absent)} is here; --methods {','.join(present)} asks for the "
            "rest"
        )


def _check_pairs(report: Report, dataset: Dataset) -> None:
    labels = {video.key: video.label for video in (*dataset.videos, *dataset.missing)}
    named = [video for video in dataset.videos if video.pair]
    absent = [video for video in named if video.pair not in labels]
    wrong = [video for video in named if labels.get(video.pair or "", REAL) != REAL]
    if absent:
        report.warnings.append(
            f"{len(absent)} fakes without their original, e.g. {absent[0].key!r}"
        )
    if wrong:
        report.faults.append(
            f"{len(wrong)} fakes whose original is labelled fake, e.g. {wrong[0].key!r}"
        )


def _check_leakage(report: Report, dataset: Dataset) -> None:
    """A leakage group in two splits: our fault in a derived split, the owners' in an official
    one.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    official: set[str] = set()
    for video in dataset.videos:
        if video.split != "none":
            splits[video.group].add(video.split)
            if video.split_origin == "official":
                official.add(video.group)
    shared = [group for group, where in splits.items() if len(where) > 1]
    ours = [group for group in shared if group not in official]
    if ours:
        report.faults.append(
            f"{len(ours)} leakage groups lie in several derived splits, e.g. {ours[0]!r}"
        )
    if len(shared) > len(ours):
        theirs = [group for group in shared if group in official]
        report.warnings.append(
            f"{len(theirs)} leakage groups lie in several official splits, e.g. {theirs[0]!r}"
        )
