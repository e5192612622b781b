"""Verdict words, exit codes, JSON and CSV that survive hostile names."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from unmask.pipeline.prediction.person_scores import PersonScores, Point
from unmask.pipeline.prediction.verdicts import (
    JSON_CLOSING,
    Member,
    Prediction,
    decide,
    exit_code,
    json_item,
    json_line,
    json_opening,
    refused_prediction,
    sentence,
    verdict_table,
    zone,
)
from unmask.pipeline.reports.tables import comma_separated, terminal
from unmask.pipeline.scores.calibration import Calibration

HOSTILE = '=cmd|" /C calc"!A0 \x1b[31m<script>.mp4'


def prediction(path: str = "a.mp4") -> Prediction:
    points = (Point(0.0, 0.2, 1.0, 0.731), Point(1.0, 1.2, 2.0, 0.881))
    track = PersonScores(0, (3, 30), (0.1, 1.1), ((1.0, 2.0, 30.0, 40.0),) * 2, (points,), (0.806,))
    member = Member("run", 0.806, 0.806, "fake", Calibration())
    return Prediction(
        Path(path), "fake", "why", "", 0.806, 0.5, (0.5, 0.5), (member,), (track,), 0.0, 1.3
    )


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.0, "real"), (0.39, "real"), (0.4, "unsure"), (0.59, "unsure"), (0.6, "fake"), (1, "fake")],
)
def test_the_zone_decides(score: float, verdict: str) -> None:
    assert decide(score, (0.4, 0.6)) == verdict


def test_without_a_zone_the_threshold_itself_is_fake() -> None:
    assert (decide(0.5, (0.5, 0.5)), decide(0.4999, (0.5, 0.5))) == ("fake", "real")


def test_the_sentence_says_what_the_calibration_promises() -> None:
    promised = Member("v", 0.9, 0.9, "fake", Calibration(zone="conformal", error=0.05))
    of = (0.9, (0.4, 0.6))
    assert "of real videos like those of its calibration at most 5.0%" in sentence(
        "fake", *of, [promised]
    )
    assert "wrong verdicts to 5.0% of each class" in sentence("unsure", *of, [promised])
    counted = Member("v", 0.9, 0.9, "fake", Calibration())
    for members in ([counted], [promised, promised]):
        assert "at most" not in sentence("fake", *of, members), "means of zones promise nothing"


def test_an_ensemble_has_the_mean_zone() -> None:
    assert zone([Calibration(1, 0.5, (0.4, 0.6)), Calibration(1, 0.7, (0.6, 1.0))]) == (
        0.6,
        (0.5, 0.8),
    )


def test_contradiction_is_said() -> None:
    members = [Member(v, 0.5, 0.5, v, Calibration()) for v in ("real", "fake")]
    assert "contradict" in sentence("unsure", 0.5, (0.4, 0.6), members)
    assert "contradict" not in sentence("unsure", 0.5, (0.4, 0.6), members[:1])


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["real"], 0),
        (["real", "fake", "unreadable", "unsure"], 10),
        (["real", "unsure", "unreadable"], 11),
        (["no face"], 11),
        (["too short", "real"], 11),
        (["real", "unreadable"], 3),
    ],
)
def test_exit_codes_are_those_of_the_help(verdicts: list, code: int) -> None:
    assert exit_code(verdicts) == code


def test_reasons_become_answers() -> None:
    assert refused_prediction(Path("a"), "no_face", "").verdict == "no face"
    assert refused_prediction(Path("a"), "too_short", "2 frames").verdict == "too short"
    found = refused_prediction(Path("a"), "truncated", "12 frames")
    assert (found.verdict, found.code) == (
        "unreadable",
        "truncated",
    ) and "12 frames" in found.reason


def as_json(found: list[Prediction], cautions: list[str]) -> str:
    """Piece by piece, as it is written while the videos are answered."""
    items = ",".join(json_item(one) for one in found)
    return json_opening("1", cautions) + items + JSON_CLOSING


def test_json_holds_every_number() -> None:
    found = [prediction(), refused_prediction(Path("b"), "no_face", "")]
    values = json.loads(as_json(found, ["careful"]))
    assert as_json(found, ["careful"]) == json.dumps(values, indent=1) + "\n"
    assert json.loads(as_json([], []))["videos"] == []
    lines = [json_line(one, "1", ["careful"]) for one in found]
    head = {key: value for key, value in values.items() if key != "videos"}
    assert [json.loads(line) for line in lines] == [head | video for video in values["videos"]]
    assert all(line.count("\n") == 1 for line in lines)
    assert values["cautions"] == ["careful"] and "no evidence" in values["note"]
    first, second = values["videos"]
    assert first["tracks"][0]["points"]["run"][1] == {
        "start": 1.0,
        "end": 1.2,
        "logit": 2.0,
        "score": 0.881,
    }
    assert first["tracks"][0]["seen"][0] == {"frame": 3, "time": 0.1, "box": [1.0, 2.0, 30.0, 40.0]}
    assert (first["score"], second["score"], second["verdict"]) == (0.806, None, "no face")


def test_no_cell_is_a_formula_and_no_name_moves_the_cursor() -> None:
    found = [prediction(HOSTILE)]
    row = next(iter(csv.DictReader(io.StringIO(comma_separated(verdict_table(found, wide=True))))))
    assert row["video"].startswith("'=cmd") and "\x1b" not in row["video"]
    assert float(row["score"]) == 0.806 and row["verdict"] == "fake"
    assert "\x1b" not in terminal(verdict_table(found)) and "\x1b" not in as_json(found, [])
