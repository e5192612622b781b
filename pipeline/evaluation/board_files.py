"""What a board is made of: scores files of ours or anybody's, each with the detector, seed and data
set that it is of.

    FILE                       scores of a detector that is called as the file
    DETECTOR=FILE              ... called DETECTOR
    DETECTOR#SEED@SET=FILE     ... one of several trainings, on data set SET

FILE may be a scores file, the folder of an evaluation, or a run: then all its evaluations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unmask.pipeline.config import PersonRule, VideoRule
from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.scores.evaluation_folder import FOLDER, SCORES, cautions_beside
from unmask.pipeline.scores.table import Scores
from unmask.pipeline.scores.video_scores import video_scores

SPEC = re.compile(r"(?P<detector>[^=#@]+)(#(?P<seed>[^=@]+))?(@(?P<dataset>[^=]+))?=(?P<path>.+)")
RUN_SEED = re.compile(r"(?P<number>\d{4,})-(?P<rest>.+)")


@dataclass(frozen=True)
class Entry:
    """One detector of one seed on one data set.

    rows: as in the file. videos: one row a video.
    baseline: shown for comparison, never ranked or tested.
    cautions: of the evaluation that the file is of.
    """

    detector: str
    seed: str
    dataset: str
    rows: Scores
    videos: Scores
    source: str
    sha256: str
    baseline: bool = False
    cautions: tuple[str, ...] = ()


def read_entries(
    specs: Sequence[str],
    rule: VideoRule = "mean",
    tracks: PersonRule = "max",
    baseline: bool = False,
) -> list[Entry]:
    """Every scores file that the words name, one entry a data set in it.

    Raises UsageError for a word that names none, ScoresError for a file that is not one.
    """
    entries = []
    for spec in specs:
        for detector, seed, dataset, path in _files(spec):
            entries += _entries(detector, seed, dataset, path, rule, tracks, baseline)
    _refuse_twins(entries)
    return entries


def _files(spec: str) -> list[tuple[str, str, str, Path]]:
    """(detector, seed, data set, scores file) of one word; "" where it does not say."""
    match = None if Path(spec).exists() else SPEC.fullmatch(spec)
    given = match.groupdict() if match else {"detector": "", "seed": "", "dataset": ""}
    path = Path(match["path"] if match else spec)
    detector, seed, dataset = (given[name] or "" for name in ("detector", "seed", "dataset"))
    if (path / SCORES).is_file():
        path = path / SCORES
    if path.is_dir():
        found = sorted(path.glob(f"{FOLDER}/[!.]*/{SCORES}"))
        if not found:
            raise UsageError(f"{path}: neither an evaluation nor a run that was evaluated")
        return [(*_named(detector, seed, file), dataset, file) for file in found]
    if not path.is_file():
        raise UsageError(f"{spec}: no such scores file, evaluation or run")
    return [(*_named(detector, seed, path), dataset, path)]


def _named(detector: str, seed: str, file: Path) -> tuple[str, str]:
    """Detector and seed; of an evaluation in a run, 0007-clrnet-ffpp is clrnet-ffpp, seed 7."""
    if detector:
        return detector, seed
    if file.name != SCORES:
        return file.stem, seed
    folder = file.absolute().parent
    if folder.parent.name != FOLDER:
        return folder.name, seed
    run = RUN_SEED.fullmatch(folder.parent.parent.name)
    if run is None:
        return folder.parent.parent.name, seed
    return run["rest"], seed or run["number"]


def _entries(
    detector: str,
    seed: str,
    dataset: str,
    path: Path,
    rule: VideoRule,
    tracks: PersonRule,
    baseline: bool,
) -> list[Entry]:
    rows, sha256 = read_scores(path)
    names = [dataset] if dataset else sorted(set(rows.dataset.tolist()))
    cautions = cautions_beside(path)
    entries = []
    for name in names:
        part = rows if len(names) == 1 else rows.take(rows.dataset == name)
        shown = name or (path.parent.name if path.name == SCORES else "unnamed")
        joined = video_scores(part, rule, tracks)
        entries.append(
            Entry(detector, seed, shown, part, joined, str(path), sha256, baseline, cautions)
        )
    return entries


def _refuse_twins(entries: Sequence[Entry]) -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for entry in entries:
        key = (entry.detector, entry.seed, entry.dataset)
        if key in seen:
            raise UsageError(
                f"{entry.source} and {seen[key]} are both of detector '{entry.detector}'"
                f"{f' seed {entry.seed}' if entry.seed else ''} on '{entry.dataset}'; name them "
                "apart: DETECTOR#SEED@SET=FILE"
            )
        seen[key] = entry.source


def common_videos(entries: Sequence[Entry]) -> tuple[list[np.ndarray], int]:
    """For each entry (of one data set) the rows of the videos that all have, in one order; and how
    many videos some lack.

    Raises UsageError for a video with two labels, or where they share fewer than two of a class.
    """
    first = entries[0].videos
    if all(_same_order(first, entry.videos) for entry in entries[1:]):
        rows, lost = [np.arange(len(first))] * len(entries), 0
    else:
        keys = [_keys(entry.videos) for entry in entries]
        shared = set(keys[0]).intersection(*keys[1:])
        lost = len(set().union(*keys)) - len(shared)
        order = [key for key in keys[0] if key in shared]
        places = [dict(zip(key, range(len(key)), strict=True)) for key in keys]
        rows = [np.array([place[key] for key in order], dtype=np.int64) for place in places]
    label = first.label[rows[0]]
    for entry, chosen in zip(entries, rows, strict=True):
        differing = np.flatnonzero(entry.videos.label[chosen] != label)
        if len(differing):
            name = entry.videos.video_id[chosen[differing[0]]]
            raise UsageError(
                f"video {name!r} has one label in {entries[0].source}, another in {entry.source}"
            )
    reals, fakes = (int((label == value).sum()) for value in (0, 1))
    if min(reals, fakes) < 2:
        least = min(entries, key=lambda entry: len(entry.videos))
        raise UsageError(
            f"on '{entries[0].dataset}' all detectors share {reals} real and {fakes} fake videos, "
            f"two of each are needed; {least.source} has the fewest videos ({len(least.videos)})"
        )
    return rows, lost


def _same_order(first: Scores, second: Scores) -> bool:
    columns = ("video_id", "method", "compression")
    return all(np.array_equal(getattr(first, c), getattr(second, c)) for c in columns)


def _keys(videos: Scores) -> list[tuple[str, str, str]]:
    columns = (videos.video_id, videos.method, videos.compression)
    return list(zip(*(column.tolist() for column in columns), strict=True))
