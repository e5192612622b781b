"""Many scores files on many data sets: who is best, by how much, and whether that can be told.

On each data set all detectors are compared on the videos that all of them have. Every interval of
a row covers other videos; the spread over seeds covers other trainings; the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.evaluation.board_files import Entry, common_videos
from unmask.pipeline.evaluation.protocols import Protocol, Published
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.delong import NORMAL_975, auc_covariance, equality_test
from unmask.pipeline.scores.equal_error import equal_error
from unmask.pipeline.scores.holm import holm
from unmask.pipeline.scores.metrics import METRICS, Measure
from unmask.pipeline.scores.operating_point import OperatingPoint, operating_point, wilson
from unmask.pipeline.scores.spread import Spread, spread
from unmask.pipeline.scores.table import Scores

Floats = NDArray[np.float64]
LEVEL = 0.05  # of a family of tests


@dataclass(frozen=True)
class Row:
    """One detector on one data set.

    seed: whose scores are tested and drawn: of several the one whose AUC is the (lower) median.
    auc, acc, eer, recall: of that seed, with intervals over videos.
    seeds, acc_seeds, eer_seeds, recall_seeds: the same over all seeds; what a reader is shown of
        several.
    gap: AUC of the best minus its own, with DeLong's interval; None for the best and baselines.
    p, adjusted: of that test, alone and after Holm's correction over the data set.
    paired: best minus own over the seeds that both have, None with fewer than two.
    verdict: "best", "worse", "not shown to differ" or "baseline".
    point, recall: generator -> share of its fakes found at the threshold of the reals.
    """

    detector: str
    seed: str
    auc: Measure
    acc: Measure
    eer: Measure
    seeds: Spread
    acc_seeds: Spread
    eer_seeds: Spread
    gap: Measure | None
    p: float | None
    adjusted: float | None
    paired: Spread | None
    verdict: str
    point: OperatingPoint
    recall: Mapping[str, Measure]
    recall_seeds: Mapping[str, Spread]


@dataclass(frozen=True)
class Sheet:
    """One data set: rows by falling mean AUC over seeds, baselines last.

    left_out: videos that not all detectors have.
    """

    dataset: str
    real: int
    fake: int
    left_out: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Beside:
    """One published cell and what one detector reaches there, the mean of its seeds."""

    detector: str
    cell: Published
    measured: float


@dataclass(frozen=True)
class Board:
    """sheets: by name. published: cells of the protocol that these files can answer.

    cautions: (detector, data set, what its evaluation warned of).
    """

    sheets: tuple[Sheet, ...]
    published: tuple[Beside, ...]
    sources: tuple[tuple[str, str, str, str, str], ...]
    false_alarms: float
    threshold: float
    cautions: tuple[tuple[str, str, str], ...] = ()


def board_of(
    entries: Sequence[Entry],
    *,
    threshold: float = 0.5,
    false_alarms: float = 0.05,
    resamples: int = 500,
    seed: int = 0,
    protocol: Protocol | None = None,
) -> Board:
    """Every number of the board.

    threshold: of ACC. false_alarms: share of the reals that may lie above the threshold of recall.
    Raises UsageError where the detectors of a data set share too few videos or disagree on a label.
    """
    names = sorted({entry.dataset for entry in entries})
    grouped = [[entry for entry in entries if entry.dataset == name] for name in names]
    made = [_Sheet(group, threshold, false_alarms, resamples, seed) for group in grouped]
    published = [
        beside
        for sheet in made
        for entries_of in (sheet.standing if protocol else ())
        for beside in _published(entries_of, protocol)
    ]
    sources = tuple((e.detector, e.seed, e.dataset, e.source, e.sha256) for e in entries)
    cautions = tuple(
        dict.fromkeys((e.detector, e.dataset, line) for e in entries for line in e.cautions)
    )
    return Board(
        tuple(sheet.sheet for sheet in made),
        tuple(published),
        sources,
        false_alarms,
        threshold,
        cautions,
    )


class _Sheet:
    """One data set while it is measured. Detectors are numbered by entry, K in all."""

    def __init__(
        self,
        entries: Sequence[Entry],
        threshold: float,
        false_alarms: float,
        resamples: int,
        seed: int,
    ) -> None:
        rows, left_out = common_videos(entries)
        self.entries, self.threshold, self.false_alarms = entries, threshold, false_alarms
        self.resamples, self.random = resamples, seed
        self.label = entries[0].videos.label[rows[0]]
        self.scores = [e.videos.score[at] for e, at in zip(entries, rows, strict=True)]
        self.method = entries[0].videos.method[rows[0]]
        self.auc, self.covariance = auc_covariance(self.label, self.scores)
        by_detector: dict[tuple[str, bool], list[int]] = {}
        for place, entry in enumerate(entries):
            by_detector.setdefault((entry.detector, entry.baseline), []).append(place)
        self.seeds = {_median(places, self.auc): places for places in by_detector.values()}
        mean = {k: float(np.mean(self.auc[places])) for k, places in self.seeds.items()}
        order = sorted(self.seeds, key=lambda k: (entries[k].baseline, -mean[k]))
        # Entries of each detector, the seed that stands for it first.
        self.standing = [
            [entries[k], *(entries[j] for j in self.seeds[k] if j != k)] for k in order
        ]
        tested = [k for k in order if not entries[k].baseline]
        self.best = tested[0] if tested else None
        tests = {
            k: equality_test(self.auc, self.covariance, k, self.best)
            for k in tested
            if k != self.best
        }
        adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
        self.sheet = Sheet(
            entries[0].dataset,
            int((self.label == REAL).sum()),
            int((self.label == FAKE).sum()),
            left_out,
            tuple(self._row(k, tests.get(k), adjusted.get(k)) for k in order),
        )

    def _row(self, k: int, test: object, adjusted: float | None) -> Row:
        entry, score = self.entries[k], self.scores[k]
        point = self._point(score)
        every = [self.scores[j] for j in self.seeds[k]]
        found = [self._recall(one, self._point(one)) for one in every]
        verdict = "baseline" if entry.baseline else "best"
        if test is not None:
            verdict = (
                "worse" if adjusted is not None and adjusted < LEVEL else "not shown to differ"
            )
        return Row(
            detector=entry.detector,
            seed=entry.seed,
            auc=self._auc(k),
            acc=self._acc(score),
            eer=Measure(*equal_error(self.label, score, self.resamples, self.random)),
            seeds=spread([float(self.auc[j]) for j in self.seeds[k]]),
            acc_seeds=spread([self._acc(one).value for one in every]),
            eer_seeds=spread([equal_error(self.label, one)[0] for one in every]),
            gap=None if test is None else Measure(test.difference, test.low, test.high, test.note),
            p=None if test is None else test.p,
            adjusted=adjusted,
            paired=None if test is None else self._paired(k),
            verdict=verdict,
            point=point,
            recall=self._recall(score, point),
            recall_seeds={name: spread([r[name].value for r in found]) for name in found[0]},
        )

    def _point(self, score: Floats) -> OperatingPoint:
        return operating_point(score[self.label == REAL], self.false_alarms)

    def _auc(self, k: int) -> Measure:
        value = float(self.auc[k])
        half = NORMAL_975 * float(np.sqrt(max(0.0, self.covariance[k, k])))
        return Measure(value, max(0.0, value - half), min(1.0, value + half))

    def _acc(self, score: Floats) -> Measure:
        right = int(((score >= self.threshold) == (self.label == FAKE)).sum())
        return Measure(right / len(score), *wilson(right, len(score)))

    def _paired(self, k: int) -> Spread | None:
        """Best minus own AUC over the seeds that both have."""
        mine = {self.entries[j].seed: j for j in self.seeds[k]}
        theirs = {self.entries[j].seed: j for j in self.seeds[self.best]}
        shared = sorted(set(mine) & set(theirs))
        if len(shared) < 2:
            return None
        return spread([float(self.auc[theirs[name]] - self.auc[mine[name]]) for name in shared])

    def _recall(self, score: Floats, point: OperatingPoint) -> dict[str, Measure]:
        fake, found = self.label == FAKE, score > point.threshold
        recall = {}
        for name in sorted(set(self.method[fake].tolist())):
            member = fake & (self.method == name)
            hits, of = int(found[member].sum()), int(member.sum())
            recall[name or "fake"] = Measure(hits / of, *wilson(hits, of), note=point.note)
        return recall


def _median(places: Sequence[int], auc: Floats) -> int:
    """The detector number whose AUC is the lower median."""
    return sorted(places, key=lambda k: auc[k])[(len(places) - 1) // 2]


def _published(entries: Sequence[Entry], protocol: Protocol) -> list[Beside]:
    """The cells that all seeds of one detector can answer."""
    found = []
    for cell in protocol.cells:
        values = [value for entry in entries if (value := _answer(entry, cell)) is not None]
        if len(values) == len(entries):
            found.append(Beside(entries[0].detector, cell, float(np.mean(values))))
    return found


def _answer(entry: Entry, cell: Published) -> float | None:
    """What one scores file says of a published cell; None where it is of other videos."""
    table = _at_level(entry, cell.level)
    if cell.dataset != entry.dataset or table is None or entry.baseline:
        return None
    if cell.compression and set(entry.videos.compression.tolist()) != {cell.compression}:
        return None
    if cell.method:
        of_method = (table.method == cell.method) & (table.label == FAKE)
        if not of_method.any():
            return None
        table = table.take(of_method | (table.label == REAL))
    return float(METRICS[cell.metric].value(table.label, table.score, 0.5))


def _at_level(entry: Entry, level: str) -> Scores | None:
    if level == "video":
        return entry.videos
    return entry.rows.by_row() if entry.rows.level == level else None
