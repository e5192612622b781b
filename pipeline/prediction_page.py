"""One prediction comes in, one HTML page goes out: verdict, a timeline to walk through, the origin of the model.

The page has no script: the moments are radio buttons, so that clicking, touching and the arrow keys work, and the
chosen one is shown by style rules alone.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.calibration import calibrate
from pipeline.clips import RawBatch, prepare
from pipeline.config import PredictConfig
from pipeline.errors import PipelineError
from pipeline.explain import grad_cam, heat_of, last_map, overlay, seen, small
from pipeline.metrics import METRICS, Measure
from pipeline.moments import Moment
from pipeline.plots import Picture, image_uri, roc_plot
from pipeline.predict import Looked
from pipeline.records import REASONS
from pipeline.report import own_version, write_page
from pipeline.samplers import Sample
from pipeline.scorers import Scorer
from pipeline.scores import read, videos
from pipeline.tables import NONE, Cell, Table, number
from pipeline.timeline import Track
from pipeline.verdicts import NOT_A_PROOF, Prediction, decide

# Shown at most: persons with a lane, moments with a picture (each costs a pass through the model), points of a line.
LANES, MOMENTS, POINTS = 6, 24, 400
FEWEST = 3
FRAMES = 4

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
    """One moment of the timeline as the page shows it. left, width: of its place on the lane, percent."""

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


def write(path: Path, looked: Looked, scorers: Sequence[Scorer], config: PredictConfig) -> None:
    """Write the page of one video in one rename.

    Raises CheckpointError and OSError; what cannot be read of an evaluation is said on the page instead.
    """
    p = looked.prediction
    lanes = _lanes(looked, scorers) if p.members else []
    stops = [stop for lane in lanes for stop in lane["stops"]]
    first = _first(lanes) if stops else 0
    models = [_model(scorer) for scorer in scorers]
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
        (number(p.score), "score, 0 to 1", f"real below {number(low)}, fake from {number(high)}"),
        (str(len(p.tracks)), "person" if len(p.tracks) == 1 else "persons", "the highest score counts"),
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
    held = {track.number for track in [p.tracks[0], *worst]}  # whoever decides the verdict has a lane
    for track, moments in zip(p.tracks, looked.moments, strict=True):
        if track.number not in held:
            continue
        chosen = _spread(moments, most)
        stops = _stops(p, track, chosen, scorer, camera, count)
        count += len(stops)
        warm = float(calibrate(np.float64(track.score[0]), scorer.calibration.temperature))
        low, high = scorer.calibration.unsure
        lanes.append(
            {
                "person": track.number + 1,
                "score": warm,
                "verdict": decide(warm, (low, high)),
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


def _start(p: Prediction, track: Track) -> float:
    """Seconds of the video's first frame: frame times count from there."""
    return min([p.start, *(point.start for point in track.points[0])])


def _line(p: Prediction, track: Track, scorer: Scorer) -> str:
    """The lane's line as SVG points on 1000 x 100; where there are too many, the highest of each part of time."""
    points = sorted(track.points[0], key=lambda point: point.start)
    first, length = _start(p, track), max(p.duration, 1e-9)
    x = np.array([((q.start + q.end) / 2 - first) / length for q in points]).clip(0, 1)
    y = calibrate(np.array([q.score for q in points]), scorer.calibration.temperature)
    parts = np.array_split(np.arange(len(points)), min(len(points), POINTS))
    best = [part[np.argmax(y[part])] for part in parts]
    return " ".join(f"{1000 * x[i]:.1f},{100 - 100 * y[i]:.1f}" for i in best)


def _stops(
    p: Prediction, track: Track, moments: Sequence[Moment], scorer: Scorer, camera: Camera, offset: int
) -> list[Stop]:
    first, length = _start(p, track), max(p.duration, 1e-9)
    at = np.array([((m.start + m.end) / 2 - first) / length for m in moments]).clip(0, 1)
    edges = np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]])
    made = []
    for number_, moment in enumerate(moments):
        score = float(calibrate(np.float64(moment.score), scorer.calibration.temperature))
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
                verdict=decide(score, scorer.calibration.unsure),
                when=(f"{start:.2f} s" if p.duration < 5 else _clock(start))
                if end - start < 1
                else f"{_clock(start)} to {_clock(end)}",
                thumb=image_uri(small(moment.pixels[len(moment.pixels) // 2])),
                picture=image_uri(picture),
                what=what,
            )
        )
    return made


class Camera:
    """Pictures of samples: frames, and below them what moved the score; the model's layer is looked up once."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.layer, self.looked = scorer, None, False

    def shoot(self, pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
        """(T,S,S,3) -> JPEG and what its lower row is."""
        spec, network = self.scorer.spec, self.scorer.network
        raw = RawBatch(
            [Sample(0, tuple((0, t) for t in range(len(pixels))))],
            torch.from_numpy(pixels[None]),
            None,
            torch.zeros(1, dtype=torch.int64),
        )
        batch = prepare(raw, spec, self.scorer.device)
        frames = seen(batch.pixels[0], spec)
        chosen = np.unique(np.rint(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)))).astype(int))
        if network is None:
            return overlay(frames[chosen].cpu(), None), "What the model saw; an exported file shows no attention."
        heat, name = self._heat(batch)
        what = f"Upper row: what the model saw; lower row: {name}. Warm places need not be what was manipulated."
        return overlay(
            frames[chosen].cpu(), heat[chosen if len(heat) == len(frames) else [0] * len(chosen)].cpu()
        ), what

    def _heat(self, batch: object) -> tuple[torch.Tensor, str]:
        network, frames = self.scorer.network, self.scorer.spec.frames
        if getattr(network, "decoder", None) is not None:
            return heat_of(network, batch)
        if not self.looked:
            self.layer, self.looked = last_map(network, batch, frames), True
        if self.layer is None:
            return heat_of(network, batch)
        return grad_cam(network, batch, self.layer, frames), "what moved the score (Grad-CAM)"


def _persons(p: Prediction) -> Table:
    names = [member.name for member in p.members]
    rows = []
    for track in p.tracks:
        warm = [
            float(calibrate(np.float64(raw), member.calibration.temperature))
            for raw, member in zip(track.score, p.members, strict=True)
        ]
        first = _start(p, track)
        seen_at = f"{_clock(min(track.pts) - first)} – {_clock(max(track.pts) - first)}".replace(" s –", " –")
        rows.append((f"person {track.number + 1}", seen_at, len(track.pts), *warm))
    heads = ("score",) if len(names) == 1 else tuple(names)
    return Table("Persons", ("person", "seen", "clips", *heads), tuple(rows))


def _model(scorer: Scorer) -> dict[str, object]:
    """What the page says of one member: calibration, and its evaluations with their weak spots."""
    c = scorer.calibration
    facts: list[tuple[str, Cell]] = [
        ("threshold", c.threshold),
        ("unsure zone", f"{number(c.unsure[0])} to {number(c.unsure[1])}"),
        ("temperature", c.temperature),
        ("fitted on", c.source or "nothing: defaults"),
    ]
    found = _evaluations(scorer.evaluations)
    return {"name": scorer.name, "facts": facts, "evaluations": found}


def _evaluations(root: Path | None) -> list[dict[str, object]]:
    """Test sets first; validation scores that only chose a threshold are no evaluation."""
    if root is None or not root.is_dir():
        return []
    folders = [f for f in root.iterdir() if (f / "metrics.json").is_file() and not f.name.endswith("-threshold")]
    folders.sort(key=lambda folder: (not folder.name.endswith("-test"), folder.name))
    return [_evaluation(folder) for folder in folders[:3]]


def _evaluation(folder: Path) -> dict[str, object]:
    try:
        document = json.loads((folder / "metrics.json").read_bytes())
        video = document["levels"]["video"]
        rows, _ = read(folder / "scores.csv")
        options = document["options"]
        joined = videos(rows, options["rule"], options["tracks"])
        auc = Measure(**video["metrics"]["auc"])
        keys = ("auc", "eer", "balanced_acc", "tpr_at_fpr_10")
        table = [(METRICS[key][0], Measure(**video["metrics"][key])) for key in keys]
        picture: Picture | None = None
        if auc.value is not None:
            picture = roc_plot(joined.label, joined.score, auc.value, (auc.low, auc.high))
        return {
            "name": folder.name,
            "line": f"{video['real']} real and {video['fake']} fake videos",
            "table": Table(folder.name, ("metric", "value"), tuple(table)),
            "picture": picture,
            "weak": list(_weak_spots(document, auc)),
            "problem": "",
        }
    except (OSError, ValueError, KeyError, TypeError, PipelineError) as error:
        return {"name": folder.name, "problem": f"cannot be read ({type(error).__name__})"}


def _weak_spots(document: dict, auc: Measure) -> list[str]:
    lines = []
    if auc.value is None:
        lines.append("Only one class was evaluated: nobody knows how well it tells real from fake.")
    elif auc.low is not None and auc.low <= 0.5:
        lines.append("Its interval includes 0.5: on these videos it may be no better than a coin.")
    methods = {n: Measure(**b["metrics"]["auc"]) for n, b in document["by"]["method"].items()}
    known = {name: value for name, value in methods.items() if value.value is not None}
    if known:
        name = min(known, key=lambda key: known[key].value)
        low, high = known[name].low, known[name].high
        interval = f" ({number(low)} to {number(high)})" if low is not None else ""
        lines.append(f"Weakest on {name}: AUC {number(known[name].value)}{interval}.")
    worst = [
        (min(v for v in row[2:] if v is not None), row[0])
        for row in document.get("robustness", [])
        if any(v is not None for v in row[2:])
    ]
    if worst:
        value, name = min(worst)
        lines.append(f"Most easily disturbed by: {name}, AUC {number(value)} at its worst level.")
    lines += [str(caution) for caution in document.get("cautions", [])]
    return lines


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
        ("Versions here", {"unmask": own_version(), "torch": torch.__version__, "python": platform.python_version()})
    )
    return [(name, list(pairs.items())) for name, pairs in groups]
