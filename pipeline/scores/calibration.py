"""From validation scores to what a verdict needs: a temperature, a threshold and the zone of no
verdict.

All of it is fitted on validation videos and applied to others; predict and evaluate use the same
functions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.disk.files import read_json
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import PipelineError, UsageError
from unmask.pipeline.scores.bootstrap import bin_of
from unmask.pipeline.scores.conformal import NEVER, conformal_zone, fewest
from unmask.pipeline.scores.delong import auc_interval

Floats = NDArray[np.float64]
Rule = Literal["balanced", "eer", "half"]
# How the zone of no verdict is found; "counted" is that of calibrations made before there were two.
Zone = Literal["conformal", "counted"]

FILE = "calibration.json"
MAX_FILE = 2**20
# A score of exactly 0 or 1 has no logit; float32 softmax saturates at about this distance.
EDGE = 1e-7
# A temperature is looked for between these: scores are drawn out at most four times, because few
# wrong videos decide how far, and a hundredth of the logit is as good as no answer.
COLDEST, HOTTEST = 0.25, 100.0
# Without enough videos nobody knows where verdicts go wrong: none within this of the threshold.
DEFAULT_WIDTH = 0.1


@dataclass(frozen=True)
class Calibration:
    """How a video score becomes a verdict: score -> sigmoid(logit / temperature) -> threshold and
    unsure zone.

    threshold, unsure: on the calibrated score; inside unsure (low, high) there is no verdict.
    rule: how the threshold was chosen.
    error: share of a class that may get the wrong verdict: of new videos like these where zone is
        "conformal", of `videos` themselves where it is "counted".
    real, fake: how many of each class `videos` holds.
    auc, auc_low: AUC of those videos and the lower end of its 95 % interval; None when unknown.
    source: what it was fitted on, with the sha256 of the scores.
    note: what was not possible.
    decided: share of its own (reals, fakes) that get a verdict; None when unknown.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    unsure: tuple[float, float] = (0.5, 0.5)
    rule: Rule = "half"
    error: float = 0.05
    videos: int = 0
    source: str = ""
    sha256: str = ""
    note: str = ""
    real: int = 0
    fake: int = 0
    auc: float | None = None
    auc_low: float | None = None
    zone: Zone = "counted"
    decided: tuple[float, float] | None = None

    def of(self, score: Floats) -> Floats:
        """The calibrated score of a raw one, of any shape."""
        return calibrate(score, self.temperature)

    @property
    def rests_on_enough(self) -> bool:
        """Whether both classes hold enough videos to show the promised error rate."""
        return min(self.real, self.fake) >= videos_needed(self.error)

    @property
    def basis(self) -> str:
        """How many videos of what it rests on, in words."""
        if not self.source and not self.videos:
            return "nothing: defaults"
        return f"{self.real} real and {self.fake} fake videos of {self.source or 'no known file'}"

    @property
    def among_verdicts(self) -> float | None:
        """What share of the verdicts may be wrong, whatever the mix of reals and fakes: `error`
        over the share decided of the class that is decided less. None where nothing is promised.
        """
        if self.zone != "conformal" or self.decided is None:
            return None
        return min(1.0, self.error / min(self.decided)) if min(self.decided) > 0 else 1.0

    @property
    def promise(self) -> str:
        """What the zone promises, in words, or "" for a zone that was counted."""
        if self.zone != "conformal":
            return ""
        text = (
            f"of new real videos like the {self.real} of its calibration at most {self.error:.1%} "
            f"are called fake, and of new fakes like its {self.fake} at most {self.error:.1%} real"
        )
        if self.decided is None or self.among_verdicts is None:
            return text
        real, fake = self.decided
        if not min(self.decided):
            return f"{text}; {real:.0%} of its reals and {fake:.0%} of its fakes get a verdict"
        return (
            f"{text}; {real:.0%} of its reals and {fake:.0%} of its fakes get a verdict, so that "
            f"of the verdicts about {self.among_verdicts:.1%} may be wrong"
        )


def default_zone(threshold: float) -> tuple[float, float]:
    """The zone of no verdict where too little is known to fit one."""
    return max(0.0, threshold - DEFAULT_WIDTH), min(1.0, threshold + DEFAULT_WIDTH)


# Without validation scores nobody knows better: half, and no verdict within a tenth of it.
DEFAULT = Calibration(
    unsure=default_zone(0.5),
    note="no validation scores: threshold 0.5 and unsure from 0.4 to 0.6 are defaults; evaluate "
    "--threshold-from fits them",
)


def videos_needed(error: float) -> int:
    """Videos of one class with which an error rate of `error` can be shown at all: 59 for 0.05.

    With fewer, even a set without one wrong verdict has an upper 95 % bound above `error`:
    (1 - error) ** n > 0.05. Source: Clopper and Pearson 1934, for no event in n trials.
    """
    error = min(max(error, 0.01), 0.5)
    return math.ceil(math.log(0.05) / math.log1p(-error))


def logit(score: Floats) -> Floats:
    """log(p / (1 - p)) of a probability, finite at 0 and 1."""
    inside = np.clip(np.asarray(score, dtype=np.float64), EDGE, 1 - EDGE)
    return np.log(inside) - np.log1p(-inside)


def sigmoid(value: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    value = np.asarray(value, dtype=np.float64)
    small = np.exp(-np.abs(value))
    return np.where(value >= 0, 1, small) / (1 + small)


def calibrate(score: Floats, temperature: float) -> Floats:
    """The score with its logit divided by the temperature; 1 leaves every score exactly as it
    is.
    """
    return (
        np.asarray(score, dtype=np.float64)
        if temperature == 1
        else sigmoid(logit(score) / temperature)
    )


def fit_temperature(label: NDArray, score: Floats) -> tuple[float, str]:
    """Temperature of smallest log-loss, and a note when the videos do not decide one (then it is
    1).

    Source: Guo et al. 2017 section 4.2. The loss is convex in a = 1 / T, so its slope
    mean((sigmoid(a z) - y) z) is brought to zero by bisection.
    """
    z, y = logit(score), np.asarray(label, dtype=np.float64)
    if len(np.unique(y)) < 2:
        return 1.0, "one class only: no temperature"
    # Asked of the scores themselves: far out the slope underflows to 0 and hides it.
    if z[y == 0].max() <= 0 <= z[y == 1].min() or separates(label, score):
        return 1.0, "validation separates perfectly: no temperature"

    def slope(a: float) -> float:
        return float(np.mean((sigmoid(a * z) - y) * z))

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) > 0:
        return 1.0, "validation scores tell nothing about the label: no temperature"
    if slope(high) < 0:
        return COLDEST, f"validation asks for a temperature below {COLDEST:g}: {COLDEST:g} is taken"
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high), ""


def separates(label: NDArray, score: Floats) -> bool:
    """Whether every fake scores higher than every real; both classes must be there."""
    label = np.asarray(label)
    return bool(np.max(score[label == 0]) < np.min(score[label == 1]))


def choose_threshold(label: NDArray, score: Floats, rule: Rule = "balanced") -> float:
    """Threshold between two neighbouring scores: best balanced accuracy, or closest FPR and FNR
    (eer).

    label, score: (R,) with both classes. Among equally good gaps the widest wins, then the lowest.
    """
    if rule == "half":
        return 0.5
    distinct = np.unique(score)
    edges = np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [1.0]])
    width = np.diff(np.concatenate([[distinct[0]], distinct, [distinct[-1]]]))
    reals, fakes = np.sort(score[label == 0]), np.sort(score[label == 1])
    fpr = 1 - np.searchsorted(reals, edges, side="left") / len(reals)
    fnr = np.searchsorted(fakes, edges, side="left") / len(fakes)
    cost = (fpr + fnr) / 2 if rule == "balanced" else np.abs(fpr - fnr)
    best = np.flatnonzero(cost <= cost.min() + 1e-12)
    return float(edges[best[np.argmax(width[best])]])


def unsure_zone(
    label: NDArray, score: Floats, threshold: float, error: float = 0.05
) -> tuple[float, float]:
    """Zone (low, high) around the threshold where neither verdict keeps its error rate.

    At or above `high` at most `error` of the reals lie; below `low` at most `error` of the fakes. A
    detector that is
    good enough has no zone: then low = high = threshold.
    """
    reals, fakes = np.sort(score[label == 0])[::-1], np.sort(score[label == 1])
    # The first real, from the top, that must stay below the line; just above it the verdict "fake"
    # may begin.
    first_real = reals[int(error * len(reals))]
    first_fake = fakes[int(error * len(fakes))]
    high = max(threshold, float(np.nextafter(first_real, 2)))
    return min(threshold, float(first_fake)), min(high, 1.0)


def fit_calibration(
    label: NDArray,
    score: Floats,
    *,
    rule: Rule = "balanced",
    error: float = 0.05,
    zone: Zone = "conformal",
    source: str = "",
    sha256: str = "",
) -> Calibration:
    """Temperature, threshold and unsure zone of validation videos (R,).

    zone: "conformal" keeps `error` for new videos of each class (conformal.py), "counted" for these
        very ones.

    Where the videos are too few for the error rate, or separate perfectly, a fitted zone would
    claim knowledge of scores that no video had: then the default zone is kept inside it. Too few
    decide no temperature either.
    Raises UsageError when the videos hold one class only.
    """
    label, score = np.asarray(label), np.asarray(score, dtype=np.float64)
    if len(np.unique(label)) < 2:
        raise UsageError(
            f"{source or 'validation scores'}: a threshold needs real and fake videos, got one "
            "class"
        )
    real, fake = (int((label == value).sum()) for value in (0, 1))
    needed = videos_needed(error)
    temperature, note = fit_temperature(label, score)
    notes = [note] if note else []
    few = min(real, fake) < needed
    if few:
        temperature = 1.0
        notes = [
            f"fitted on {real} real and {fake} fake videos, {needed} of each are needed to show "
            f"an error rate of {error:.0%}: no temperature, and at least the default zone is kept"
        ]
    calibrated = calibrate(score, temperature)
    threshold = choose_threshold(label, calibrated, rule)
    if zone == "conformal":
        # A threshold outside widens the zone, which never adds a wrong verdict.
        low, high = conformal_zone(label, calibrated, error)
        low, high = min(low, threshold), max(high, threshold)
        notes += _never(real, fake, error)
    else:
        low, high = unsure_zone(label, calibrated, threshold, error)
    if few or separates(label, score):
        least, most = default_zone(threshold)
        low, high = min(low, least), max(high, most)
    decided = (calibrated < low) | (calibrated >= high)
    auc, auc_low, _ = auc_interval(label, score)
    return Calibration(
        temperature=temperature,
        threshold=threshold,
        unsure=(low, high),
        rule=rule,
        error=error,
        videos=len(label),
        real=real,
        fake=fake,
        auc=auc,
        auc_low=auc_low,
        source=source,
        sha256=sha256,
        note="; ".join(notes),
        zone=zone,
        decided=(float(decided[label == 0].mean()), float(decided[label == 1].mean())),
    )


def _never(real: int, fake: int, error: float) -> list[str]:
    """What no number of wrong verdicts can be promised for, in words."""
    least = fewest(error)
    if least is None:
        return ["no zone can promise that there is never a wrong verdict: none is given"]
    lines = []
    for count, kind, verdict in ((real, "real", "fake"), (fake, "fake", "real")):
        if count < least:
            lines.append(
                f'no verdict "{verdict}": {count} {kind} videos, {least} are needed to promise '
                f"{error:.1%}"
            )
    return lines


@dataclass(frozen=True)
class Reliability:
    """Equal bins of the score: edges (K+1,); per bin (K,) its videos, mean score and share of
    fakes, nan if empty.
    """

    edges: Floats
    count: NDArray[np.int64]
    score: Floats
    fakes: Floats


def reliability(label: NDArray, score: Floats, bins: int = 10) -> Reliability:
    """The reliability diagram's numbers: of the videos that scored about p, which share is fake?"""
    index = bin_of(score, bins)
    count = np.bincount(index, minlength=bins)
    held = np.where(count > 0, count, np.nan)
    mean = np.bincount(index, weights=score, minlength=bins) / held
    fakes = np.bincount(index, weights=label, minlength=bins) / held
    return Reliability(np.linspace(0, 1, bins + 1), count, mean, fakes)


def read_calibration(path: Path) -> Calibration:
    """The calibration kept in a run's folder.

    Raises UsageError when the file is not one of ours.
    """
    try:
        return calibration_from(read_json(path, MAX_FILE, UsageError), path, UsageError)
    except UsageError as error:
        raise UsageError(
            f"{error}: not a calibration file; fit it again with --threshold-from"
        ) from error


def calibration_from(
    values: Mapping[str, Any], where: object, error: type[PipelineError]
) -> Calibration:
    """A calibration from JSON values. Raises `error` for other fields, types or ranges."""
    made = record_of(Calibration, values, where, error)
    low, high = made.unsure
    if not (
        0 <= low <= made.threshold <= high <= NEVER
        and 1 / HOTTEST <= made.temperature <= HOTTEST
        and 0 <= made.error <= 1
        and min(made.videos, made.real, made.fake) >= 0
        and all(
            0 <= value <= 1
            for value in (made.auc, made.auc_low, *(made.decided or ()))
            if value is not None
        )
    ):
        raise error(f"{where}: threshold, zone or temperature out of range")
    return made


def as_json(calibration: Calibration) -> str:
    """One JSON object, keys in order, ending with a newline."""
    return json.dumps(asdict(calibration), indent=1, allow_nan=False) + "\n"
