"""One prediction comes in, one HTML page goes out: verdict, a timeline to walk through, the origin
of the model.

The page has no script: the moments are radio buttons, so that clicking, touching and the arrow keys
work, and the chosen one is shown by style rules alone.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from unmask.pipeline.config import PredictConfig
from unmask.pipeline.prediction.camera import Camera
from unmask.pipeline.prediction.model_card import model_rows
from unmask.pipeline.prediction.moments import Moment
from unmask.pipeline.prediction.person_scores import PersonScores
from unmask.pipeline.prediction.predict import Looked
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.prediction.verdicts import NOT_A_PROOF, Prediction
from unmask.pipeline.records import REASONS
from unmask.pipeline.reports.heat import small
from unmask.pipeline.reports.html import own_version, write_page
from unmask.pipeline.reports.plots import image_uri
from unmask.pipeline.reports.tables import NONE, Cell, Table, number

# Shown at most: persons with a lane, moments with a picture (each costs a pass through the model),
# points of a line.
LANES, MOMENTS, POINTS = 6, 24, 400
FEWEST = 3

HEADLINES = {
    "fake": "Looks like a fake",
    "real": "Looks real to this model",
    "unsure": "No verdict: unsure",
    "no face": "No verdict: no face found",
    "too short": "No verdict: too short",
    "unreadable": "No verdict: the file cannot be read",
}


@dataclass(frozen=True)
class Stop:
    """One moment of the timeline as the page shows it. left, width: of its place on the lane,
    percent.
    """

    number: int
    person: int
    left: float
    width: float
    at: float
    top: float
    score: float
    verdict: str
    when: str
    thumb: str
    picture: str
    what: str


def write_prediction_page(
    path: Path, looked: Looked, scorers: Sequence[Scorer], config: PredictConfig
) -> None:
    """Write the page of one video in one rename.

    Raises CheckpointError and OSError; what cannot be read of an evaluation is said on the page
    instead.
    """
    p = looked.prediction
    lanes = _lanes(looked, scorers) if p.members else []
    stops = [stop for lane in lanes for stop in lane["stops"]]
    first = _first(lanes) if stops else 0
    models = [model_rows(scorer) for scorer in scorers]
    sections = [("What it is not", "not")]
    sections += [("Timeline", "timeline"), ("Persons", "persons")] if p.members else []
    sections += [("The model", "model"), ("How it was made", "made")]
    write_page(
        path,
        "prediction.html",
        title=f"{HEADLINES[p.verdict]}: {p.path.name}",
        headline=HEADLINES[p.verdict],
        name=p.path.name,
        verdict=p.verdict.replace(" ", "-"),
        reason=p.reason,
        sections=sections,
        tiles=_tiles(p),
        not_a_proof=NOT_A_PROOF,
        doubts=p.doubts,
        cautions=list(dict.fromkeys(line for scorer in scorers for line in scorer.cautions)),
        lanes=lanes,
        stops=stops,
        chosen=first,
        hidden=max(0, len(p.tracks) - LANES),
        ticks=[_clock(share * p.duration) for share in (0, 0.5, 1)],
        persons=_persons(p),
        models=models,
        provenance=_provenance(p, scorers, config),
    )


def _first(lanes: Sequence[dict[str, object]]) -> int:
    """The moment that is open at first: the highest of the person who decides the verdict."""
    highest = max((lane for lane in lanes if lane["stops"]), key=lambda lane: lane["score"])
    return max(highest["stops"], key=lambda stop: stop.score).number


def _tiles(p: Prediction) -> list[tuple[str, str, str]]:
    if not p.members:
        return [(p.verdict, "verdict", REASONS.get(p.code, ""))]
    low, high = p.unsure
    return [
        (p.verdict, "verdict", ""),
        (number(p.shown), "score, 0 to 1", f"real below {number(low)}, fake from {number(high)}"),
        (
            str(len(p.tracks)),
            "person" if len(p.tracks) == 1 else "persons",
            "the highest score counts",
        ),
        (_clock(p.duration), "long", f"{p.frames:,} frames, {p.width} x {p.height} px"),
    ]


def _clock(seconds: float) -> str:
    """12.3 -> 12.3 s; 75 -> 1:15; 3700 -> 1:01:40."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _lanes(looked: Looked, scorers: Sequence[Scorer]) -> list[dict[str, object]]:
    p, scorer = looked.prediction, scorers[0]
    shown = min(len(p.tracks), LANES)
    most = max(FEWEST, MOMENTS // shown)
    camera = Camera(scorer)
    lanes, count = [], 0
    worst = sorted(p.tracks[1:], key=lambda track: -track.score[0])[: LANES - 1]
    held = {
        track.number for track in [p.tracks[0], *worst]
    }  # whoever decides the verdict has a lane
    for track, moments in zip(p.tracks, looked.moments, strict=True):
        if track.number not in held:
            continue
        chosen = _spread(moments, most)
        stops = _stops(p, track, chosen, scorer, camera, count)
        count += len(stops)
        calibrated = float(scorer.calibration.of(np.float64(track.score[0])))
        low, high = scorer.calibration.unsure
        lanes.append(
            {
                "person": track.number + 1,
                "score": calibrated,
                "verdict": p.say(calibrated, (low, high)),
                "line": _line(p, track, scorer),
                "stops": stops,
                "band": (round(100 - 100 * high, 2), round(100 * (high - low), 2)),
                "threshold": round(100 - 100 * scorer.calibration.threshold, 2),
                "member": scorer.name,
            }
        )
    return lanes


def _spread(moments: Sequence[Moment], most: int) -> list[Moment]:
    """At most so many, evenly over time, the highest score always among them."""
    if len(moments) <= most:
        return list(moments)
    even = {int(i) for i in np.linspace(0, len(moments) - 1, most - 1).round()}
    return [moments[i] for i in sorted(even | {int(np.argmax([m.score for m in moments]))})]


def _start(p: Prediction, track: PersonScores) -> float:
    """Seconds of the video's first frame: frame times count from there."""
    return min([p.start, *(point.start for point in track.points[0])])


def _line(p: Prediction, track: PersonScores, scorer: Scorer) -> str:
    """The lane's line as SVG points on 1000 x 100; where there are too many, the highest of each
    part of time.
    """
    points = sorted(track.points[0], key=lambda point: point.start)
    first, length = _start(p, track), max(p.duration, 1e-9)
    x = np.array([((q.start + q.end) / 2 - first) / length for q in points]).clip(0, 1)
    y = scorer.calibration.of(np.array([q.score for q in points]))
    parts = np.array_split(np.arange(len(points)), min(len(points), POINTS))
    best = [part[np.argmax(y[part])] for part in parts]
    return " ".join(f"{1000 * x[i]:.1f},{100 - 100 * y[i]:.1f}" for i in best)


def _stops(
    p: Prediction,
    track: PersonScores,
    moments: Sequence[Moment],
    scorer: Scorer,
    camera: Camera,
    offset: int,
) -> list[Stop]:
    first, length = _start(p, track), max(p.duration, 1e-9)
    at = np.array([((m.start + m.end) / 2 - first) / length for m in moments]).clip(0, 1)
    edges = np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]])
    made = []
    for number_, moment in enumerate(moments):
        score = float(scorer.calibration.of(np.float64(moment.score)))
        picture, what = camera.shoot(moment.pixels)
        start, end = moment.start - first, moment.end - first
        made.append(
            Stop(
                number=offset + number_,
                person=track.number + 1,
                left=round(100 * edges[number_], 3),
                width=round(100 * (edges[number_ + 1] - edges[number_]), 3),
                at=round(100 * at[number_], 3),
                top=round(100 - 100 * score, 2),
                score=score,
                verdict=p.say(score, scorer.calibration.unsure),
                when=(f"{start:.2f} s" if p.duration < 5 else _clock(start))
                if end - start < 1
                else f"{_clock(start)} to {_clock(end)}",
                thumb=image_uri(small(moment.pixels[len(moment.pixels) // 2])),
                picture=image_uri(picture),
                what=what,
            )
        )
    return made


def _persons(p: Prediction) -> Table:
    names = [member.name for member in p.members]
    rows = []
    for track in p.tracks:
        calibrated = [
            float(member.calibration.of(np.float64(raw)))
            for raw, member in zip(track.score, p.members, strict=True)
        ]
        first = _start(p, track)
        seen_at = f"{_clock(min(track.pts) - first)} – {_clock(max(track.pts) - first)}".replace(
            " s –", " –"
        )
        rows.append((f"person {track.number + 1}", seen_at, len(track.pts), *calibrated))
    heads = ("score",) if len(names) == 1 else tuple(names)
    return Table("Persons", ("person", "seen", "clips", *heads), tuple(rows))


def _provenance(
    p: Prediction, scorers: Sequence[Scorer], config: PredictConfig
) -> list[tuple[str, list[tuple[str, Cell]]]]:
    file: dict[str, Cell] = {
        "file": str(p.path),
        "sha256": p.sha256 or NONE,
        "codec": p.codec or NONE,
        "frames per second": p.fps,
        "flags": ", ".join(p.flags) or "none",
    }
    settings = {k: v for k, v in asdict(config).items() if isinstance(v, str | int | float)}
    groups = [("File", file), ("Settings of predict", settings)]
    for scorer in scorers:
        title = f"{scorer.name}: " if len(scorers) > 1 else ""
        groups += [(f"{title}{name}", dict(pairs)) for name, pairs in scorer.facts.items()]
    groups.append(
        (
            "Versions here",
            {
                "unmask": own_version(),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        )
    )
    return [(name, list(pairs.items())) for name, pairs in groups]
