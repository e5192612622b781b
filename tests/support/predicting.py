"""Predictions made by hand and by a run, for tests of what is drawn from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from unmask.pipeline.clips.looks import NOTICED
from unmask.pipeline.prediction.person_scores import PersonScores, Point
from unmask.pipeline.prediction.verdicts import Member, Prediction
from unmask.pipeline.runs.knowledge import Knowledge, Spread
from unmask.pipeline.scores import calibration as cal
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


def trust(run: Path, low: float = 0.4, high: float = 0.6) -> None:
    """Give a run of the tests the papers of a good one: whom it was trained on, looks that admit
    every crop, and a calibration with this zone that rests on enough videos.
    """
    document = json.loads((run / "run.json").read_text())
    anything = {name: Spread(-1e6, 0.0, 1e6) for name in NOTICED}
    known = Knowledge(True, False, 500, 500, 100, ("tiny",), looks=anything)
    (run / "run.json").write_text(json.dumps(document | {"knowledge": known.as_json()}))
    good = Calibration(
        *(1.0, (low + high) / 2, (low, high)),
        **{"videos": 200, "real": 100, "fake": 100, "auc": 0.9, "auc_low": 0.85, "source": "v.csv"},
    )
    (run / cal.FILE).write_text(cal.as_json(good))
