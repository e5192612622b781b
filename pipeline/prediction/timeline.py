"""Crops of one video's persons come in, scores over time go out: which frames make a sample, and
when it was.

Two ways. Whole: all clips of a person at once, the samples of evaluation, so that a person's score
is the very number evaluate gives. Dense: stretch after stretch of a long video, samples of
neighbouring clips, nothing kept but numbers and the few clips that do not fill a sample yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.batches import batch_of
from unmask.pipeline.clips.looks import looks_of_clips
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Picks, evaluation_picks, mode_of
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.faces.persons import Person, join
from unmask.pipeline.prediction.moments import Keeper
from unmask.pipeline.prediction.person_scores import PersonScores, Point
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.records import Crops
from unmask.pipeline.scores.calibration import sigmoid
from unmask.pipeline.scores.video_scores import RULES

# A person seen in fewer clips is a passer-by or a false find, unless nobody else is there
# (faces.MIN_CLIPS).
LEAST_CLIPS = 2


@dataclass
class Clips:
    """Clips of one person that wait for a sample: pixels (N,T,S,S,3) uint8, pts (N,T) seconds."""

    pixels: NDArray[np.uint8]
    pts: NDArray[np.float64]

    def after(self, other: Clips | None) -> Clips:
        if other is None or not len(other.pixels):
            return self
        return Clips(
            np.concatenate([other.pixels, self.pixels]), np.concatenate([other.pts, self.pts])
        )

    def last(self, count: int) -> Clips:
        start = len(self.pixels) - count
        return Clips(self.pixels[start:].copy(), self.pts[start:].copy())


@dataclass
class _Seen:
    person: Person
    points: list[list[Point]]
    waiting: list[Clips | None]
    looks: list[NDArray[np.float64]] = field(default_factory=list)


def neighbours(spec: ClipSpec, clips: int, length: int) -> tuple[list[Picks], int]:
    """Samples of neighbouring clips, one after the other, and how many clips at the end fill none
    yet.
    """
    group = mode_of(spec).clips_for_one(spec.frames, length)
    starts = range(0, clips - clips % group, group)
    one = evaluation_picks(spec, group, length)
    picks = [tuple((start + clip, frame) for clip, frame in p) for start in starts for p in one]
    return picks, clips % group


def score_clips(
    scorer: Scorer, clips: Clips, picks: Sequence[Picks], batch: int
) -> list[tuple[Point, NDArray]]:
    """Each sample's point and its pixels (T,S,S,3) uint8, through the very preparation of
    evaluation.

    Raises CheckpointError when the model answers with something that is not a number.
    """
    found = []
    for start in range(0, len(picks), batch):
        chosen = picks[start : start + batch]
        rows = [([clip for clip, _ in pick], [frame for _, frame in pick]) for pick in chosen]
        pixels = np.stack([clips.pixels[row] for row in rows])  # (B,T,S,S,3)
        ready = prepare(batch_of(pixels, chosen), scorer.spec, scorer.device)
        with torch.inference_mode():
            answer = scorer.logits(ready.pixels, ready.bands)
        logit = (answer[:, 1] - answer[:, 0]).double().cpu().numpy()
        if not np.isfinite(logit).all():
            raise CheckpointError(
                f"{scorer.source}: the model answers {logit} instead of numbers; train it again"
            )
        times = [clips.pts[row] for row in rows]
        points = zip(times, logit.tolist(), sigmoid(logit).tolist(), strict=True)
        found += [
            (Point(float(t.min()), float(t.max()), value, score), pixels[i])
            for i, (t, value, score) in enumerate(points)
        ]
    return found


@dataclass
class Timeline:
    """One video as it is read: add stretches of crops, ask for its tracks at any time.

    dense: samples of neighbouring clips, stretch by stretch; else all clips come in one call.
    keeper: is offered every sample of the first scorer, for pictures.
    faces: most faces seen on one anchor.
    """

    scorers: Sequence[Scorer]
    batch: int
    rule: str
    dense: bool
    keeper: Keeper | None = None
    seen: list[_Seen] = field(default_factory=list)
    faces: int = 0
    _before: list[int] = field(default_factory=list)

    def add(self, people: Sequence[Crops]) -> None:
        """Score one stretch: the crops of each person in it."""
        self._before = [len(entry.points[0]) for entry in self.seen]
        self.faces = max(self.faces, *(crops.faces for crops in people)) if people else self.faces
        known = [entry.person for entry in self.seen]
        places = join(known, people)
        empty = len(self.scorers)
        self.seen += [
            _Seen(p, [[] for _ in range(empty)], [None] * empty) for p in known[len(self.seen) :]
        ]
        for place, crops in zip(places, people, strict=True):
            entry, clips = self.seen[place], Clips(crops.pixels, crops.pts)
            entry.looks.append(looks_of_clips(crops.pixels))
            for number, scorer in enumerate(self.scorers):
                if self.dense:
                    clips_now = clips.after(entry.waiting[number])
                    picks, rest = neighbours(scorer.spec, *clips_now.pixels.shape[:2])
                    entry.waiting[number] = clips_now.last(rest)
                else:
                    clips_now, picks = clips, evaluation_picks(scorer.spec, *clips.pixels.shape[:2])
                self._score(place, number, clips_now, picks)

    def newest(self) -> list[Point]:
        """Of everybody, the first scorer's points that the last stretch added."""
        known = [*self._before, *[0] * (len(self.seen) - len(self._before))]
        pairs = zip(self.seen, known, strict=True)
        return [point for entry, before in pairs for point in entry.points[0][before:]]

    def finish(self) -> None:
        """Score persons of whom no sample was filled, with the clips there are."""
        for place, entry in enumerate(self.seen):
            for number, scorer in enumerate(self.scorers):
                left = entry.waiting[number]
                if not entry.points[number] and left is not None and len(left.pixels):
                    self._score(
                        place,
                        number,
                        left,
                        evaluation_picks(scorer.spec, *left.pixels.shape[:2])[:1],
                    )

    def _score(self, place: int, number: int, clips: Clips, picks: Sequence[Picks]) -> None:
        for point, pixels in score_clips(self.scorers[number], clips, picks, self.batch):
            self.seen[place].points[number].append(point)
            if self.keeper is not None and number == 0:
                self.keeper.offer(place, point.start, point.end, point.score, pixels)

    def tracks(self) -> list[tuple[int, PersonScores]]:
        """(place of its samples in the keeper, track), the main person first; only persons with a
        score.
        """
        held = [p for p, entry in enumerate(self.seen) if all(entry.points)]
        order = sorted(held, key=lambda p: (-self.seen[p].person.weight, p)) if self.dense else held
        lasting = [p for p in order if len(self.seen[p].person.pts) >= LEAST_CLIPS]
        kept = order if not self.dense else lasting or order[:1]
        return [(place, self._track(number, self.seen[place])) for number, place in enumerate(kept)]

    def _track(self, number: int, entry: _Seen) -> PersonScores:
        person = entry.person
        return PersonScores(
            number=number,
            index=tuple(person.index),
            pts=tuple(person.pts),
            box=tuple(tuple(float(edge) for edge in box) for box in person.box),
            points=tuple(tuple(points) for points in entry.points),
            score=tuple(joined_score(points, self.rule) for points in entry.points),
            looks=tuple(np.median(np.concatenate(entry.looks), axis=0).tolist()),
        )


def joined_score(points: Sequence[Point], rule: str) -> float:
    """A person's score by the rule of evaluation (pipeline/scores/video_scores.py)."""
    score, logit = (np.array([getattr(p, name) for p in points]) for name in ("score", "logit"))
    return RULES[rule](score, logit)
