"""What the models say of one person of a video, sample by sample; numbers only, so that a process
without a model reads them at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One sample's score. start, end: seconds of its first and last frame.

    score: before calibration.
    """

    start: float
    end: float
    logit: float
    score: float


@dataclass(frozen=True)
class PersonScores:
    """One person: number (0 the main one), per clip frame number, seconds and box (x1, y1, x2, y2)
    px, and scores.

    points: per scorer.
    score: per scorer, joined by the rule, before calibration.
    looks: medians over the clips of clips.looks.NOTICED.
    """

    number: int
    index: tuple[int, ...]
    pts: tuple[float, ...]
    box: tuple[tuple[float, ...], ...]
    points: tuple[tuple[Point, ...], ...]
    score: tuple[float, ...]
    looks: tuple[float, ...] = ()
