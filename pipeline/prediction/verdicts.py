"""What predict answers about a video, in one word and in all its numbers; as JSON, as a table, as
an exit code.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unmask.pipeline.prediction.person_scores import PersonScores
from unmask.pipeline.records import REASONS
from unmask.pipeline.reports.printable import printable
from unmask.pipeline.reports.tables import Table
from unmask.pipeline.scores.calibration import Calibration

FORMAT = 1

Verdict = Literal["real", "fake", "unsure", "no face", "too short", "unreadable"]

# Reasons that are an answer about the video; with all others nobody has looked into it.
ANSWERS: dict[str, Verdict] = {"no_face": "no face", "too_short": "too short"}

JSON_CLOSING = "\n ]\n}\n"  # after the last video of json_opening's object

EXIT_FAKE, EXIT_UNSURE, EXIT_UNREADABLE = 10, 11, 3

NOT_A_PROOF = (
    "The score says how much the faces in this video look like the fakes the model was trained "
    "on. It is not the "
    "probability that this video is a forgery, and it is no evidence against anybody: other "
    "generators, cameras and "
    "compressions than those of training can move it either way."
)


@dataclass(frozen=True)
class Member:
    """What one model says of a video. raw: its highest person's score.

    score: calibrated.
    """

    name: str
    raw: float
    score: float
    verdict: Verdict
    calibration: Calibration


@dataclass(frozen=True)
class Prediction:
    """The answer about one video.

    score: mean of the members' calibrated scores, or None where there is no verdict by score.
    threshold, unsure: means of the members'.
    reason: one sentence.
    bare: what the score alone would say, "" where there is none.
    doubts: why that means little, one sentence each.
    withheld: the doubts made the verdict unsure, and its score is not shown to people.
    code: "" or the word of records.REASONS.
    start: seconds of its first frame, from which duration counts; all times of tracks are those of
        the file.
    width, height, frames, fps, codec, sha256: of the file, where it could be read.
    flags: of its outcome.
    """

    path: Path
    verdict: Verdict
    reason: str
    code: str = ""
    score: float | None = None
    threshold: float | None = None
    unsure: tuple[float, float] | None = None
    members: tuple[Member, ...] = ()
    tracks: tuple[PersonScores, ...] = ()
    start: float = 0.0
    duration: float = 0.0
    width: int = 0
    height: int = 0
    frames: int = 0
    fps: float = 0.0
    codec: str = ""
    sha256: str = ""
    flags: tuple[str, ...] = ()
    bare: Verdict | Literal[""] = ""
    doubts: tuple[str, ...] = ()
    withheld: bool = False

    @property
    def shown(self) -> float | None:
        """The score where people may see it."""
        return None if self.withheld else self.score

    def say(self, score: float, unsure: tuple[float, float]) -> Verdict:
        """What a part of the video, one person or moment, says by its own score."""
        return "unsure" if self.withheld else decide(score, unsure)


def decide(score: float, unsure: tuple[float, float]) -> Verdict:
    """fake from the upper edge of the zone on, real below the lower, unsure between."""
    low, high = unsure
    return "fake" if score >= high else "real" if score < low else "unsure"


def zone(calibrations: Sequence[Calibration]) -> tuple[float, tuple[float, float]]:
    """Threshold and unsure zone of an ensemble: means of its members', as its score is the mean of
    theirs.
    """
    threshold = float(np.mean([c.threshold for c in calibrations]))
    low, high = (float(np.mean([c.unsure[edge] for c in calibrations])) for edge in (0, 1))
    return threshold, (low, high)


def sentence(
    verdict: Verdict, score: float, unsure: tuple[float, float], members: Sequence[Member]
) -> str:
    """Why this verdict, for a person."""
    low, high = unsure
    limits = {
        "fake": f"at or above {high:.3f}, where a video counts as fake",
        "real": f"below {low:.3f}, where a video counts as real",
        "unsure": f"between {low:.3f} and {high:.3f}, the zone in which no verdict is given",
    }
    text = f"score {score:.3f} is {limits[verdict]}{_promised(verdict, members)}"
    if {"real", "fake"} <= {member.verdict for member in members}:
        text += "; the members contradict each other"
    return text


def _promised(verdict: Verdict, members: Sequence[Member]) -> str:
    """How often such a verdict is wrong where one calibration promises it; means of several
    promise nothing.
    """
    if len(members) != 1 or members[0].calibration.zone != "conformal":
        return ""
    error = members[0].calibration.error
    if verdict == "unsure":
        return f"; it keeps wrong verdicts to {error:.1%} of each class"
    other = "real" if verdict == "fake" else "fake"
    return f"; of {other} videos like those of its calibration at most {error:.1%} score so"


def doubtful(said: str, doubts: Sequence[str], withheld: bool) -> str:
    """The sentence of a verdict that is doubted: kept back, or said all the same (`--anyway`)."""
    count = len(doubts) - 1
    more = f"; and {count} more doubt{'s' if count > 1 else ''}" if count else ""
    return f"{'' if withheld else f'{said}; said in spite of a doubt: '}{doubts[0]}{more}"


def refused_prediction(path: Path, code: str, detail: str) -> Prediction:
    """The answer about a video that cannot be scored."""
    verdict = ANSWERS.get(code, "unreadable")
    reason = REASONS.get(code, code) + (f" ({detail})" if detail else "")
    return Prediction(path, verdict, reason, code)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """The first that applies: 10 some fake; 11 some without a verdict; 3 some unreadable; 0 all
    real.
    """
    if "fake" in verdicts:
        return EXIT_FAKE
    if {"unsure", "no face", "too short"} & set(verdicts):
        return EXIT_UNSURE
    return EXIT_UNREADABLE if "unreadable" in verdicts else 0


def document(prediction: Prediction) -> dict[str, object]:
    """Everything as plain JSON values."""
    plain = asdict(prediction)
    plain["path"] = printable(str(prediction.path))
    tracks = zip(plain["tracks"], prediction.tracks, strict=True)
    plain["tracks"] = [_track(values, track, prediction) for values, track in tracks]
    return plain


def _track(
    values: dict[str, object], track: PersonScores, prediction: Prediction
) -> dict[str, object]:
    names = [member.name for member in prediction.members]
    anchors = zip(track.index, track.pts, track.box, strict=True)
    return {
        "number": values["number"],
        "score": dict(zip(names, track.score, strict=True)),
        "points": dict(zip(names, values["points"], strict=True)),
        "seen": [{"frame": frame, "time": time, "box": box} for frame, time, box in anchors],
    }


def json_opening(version: str, cautions: Sequence[str]) -> str:
    """What stands before the first video of one JSON object for all, to be written before anything
    is known.
    """
    text = json.dumps(_head(version, cautions), indent=1)
    return text.removesuffix("\n}") + ',\n "videos": ['


def json_item(prediction: Prediction) -> str:
    """One video of that object; a comma goes between two of them."""
    return "\n" + textwrap.indent(json.dumps(document(prediction), indent=1, allow_nan=False), "  ")


def json_line(prediction: Prediction, version: str, cautions: Sequence[str]) -> str:
    """One video as an object of its own on one line, which says everything that json_opening
    says once for all.
    """
    return json.dumps(_head(version, cautions) | document(prediction), allow_nan=False) + "\n"


def _head(version: str, cautions: Sequence[str]) -> dict[str, object]:
    return {"format": FORMAT, "unmask": version, "note": NOT_A_PROOF, "cautions": list(cautions)}


def verdict_table(
    predictions: Sequence[Prediction], wide: bool = False, names: Sequence[str] | None = None
) -> Table:
    """One row per video; wide adds what a spreadsheet wants, and scores that are kept back.

    names: of the members, where no video with a score may be among the predictions.
    """
    if names is None:
        names = list(dict.fromkeys(member.name for p in predictions for member in p.members))
    extra = (
        (
            *("threshold", "unsure_from", "fake_from", "duration", "frames", "sha256", "code"),
            *("bare", "doubts"),
        )
        if wide
        else ()
    )
    several = names if wide or len(names) > 1 else []
    header = ("video", "verdict", "score", "persons", *several, *extra, "reason")
    return Table("Verdicts", header, tuple(_row(p, several, wide) for p in predictions))


def _row(p: Prediction, names: Sequence[str], wide: bool) -> tuple:
    kept_back = p.withheld and not wide
    scores = {} if kept_back else {member.name: member.score for member in p.members}
    low, high = p.unsure or (None, None)
    facts = (p.threshold, low, high, p.duration, p.frames, p.sha256, p.code)
    extra = (*facts, p.bare, "; ".join(p.doubts)) if wide else ()
    shown = str(p.path) if wide else p.path.name
    return (
        shown,
        p.verdict,
        p.score if wide else p.shown,
        len(p.tracks),
        *(scores.get(n) for n in names),
        *extra,
        p.reason,
    )
