"""Predictions made by hand and by a run, for tests of what is drawn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unmask.pipeline.prediction.timeline import PersonScores, Point
from unmask.pipeline.prediction.verdicts import Member, Prediction
from unmask.pipeline.scores.calibration import Calibration

ZONE = Calibration(1.0, 0.5, (0.4, 0.6), note="by hand")


def track_of(
    times: list[float], boxes: list[tuple], scores: list[float], number: int = 0
) -> PersonScores:
    points = tuple(
        Point(t - 0.04, t + 0.04, float(np.log(s / (1 - s))), s)
        for t, s in zip(times, scores, strict=True)
    )
    index = tuple(round(25 * t) for t in times)
    mean = float(np.mean(scores))
    return PersonScores(number, index, tuple(times), tuple(boxes), (points,), (mean,))


def prediction_of(
    path: Path, tracks: tuple[PersonScores, ...], fps: float = 25.0, duration: float = 2.0
) -> Prediction:
    score = max(track.score[0] for track in tracks)
    member = Member("run", score, score, "fake", ZONE)
    return Prediction(
        *(
            path,
            "fake",
            "by hand",
            "",
            score,
            0.5,
            (0.4, 0.6),
            (member,),
            tracks,
            0.0,
            duration,
            320,
            240,
            50,
            fps,
        )
    )
