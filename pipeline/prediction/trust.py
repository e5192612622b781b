"""Whether a model may be believed about a video: what it was trained on, how good it is, what it is
asked about.

A score alone cannot say this: a network trained on drawings answers 0.95 on every real person. Each
doubt is one sentence; a single one turns `real` and `fake` into `unsure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.clips.looks import NOTICED
from unmask.pipeline.errors import ScoresError
from unmask.pipeline.runs.knowledge import Knowledge
from unmask.pipeline.scores.calibration import Calibration, videos_needed
from unmask.pipeline.scores.evaluation_folder import METRICS_FILE, read_evaluation

# A network that saw fewer knows these videos by heart and little else.
FEWEST_VIDEOS, FEWEST_PEOPLE = 50, 20
MOST_EVALUATIONS, LONGEST_NAME = 50, 200


@dataclass(frozen=True)
class Standing:
    """How well a model did on one evaluated manifest.

    auc: video AUC.
    low: lower end of its 95 % interval, None where it was not computed.
    damaged: why nobody can read how well it did there, "" where one can.
    """

    name: str
    auc: float | None
    low: float | None
    damaged: str = ""


def standings_of(root: Path) -> tuple[Standing, ...]:
    """The evaluations of a run, by name; one without an AUC (of one class) stands for nothing."""
    found = []
    for path in sorted(root.glob(f"*/{METRICS_FILE}"))[:MOST_EVALUATIONS]:
        name = path.parent.name[:LONGEST_NAME]
        try:
            auc = read_evaluation(path.parent).result.video.measure("auc")
        except ScoresError as error:
            found.append(Standing(name, None, None, str(error)[:LONGEST_NAME]))
        else:
            if auc.value is not None:
                found.append(Standing(name, auc.value, auc.low))
    return tuple(found)


def standing_from(values: object) -> Standing | None:
    """A standing from plain JSON values; None where no AUC exists. Raises ValueError, TypeError,
    KeyError for anything else.
    """
    if not isinstance(values, dict) or not isinstance(values["name"], str):
        raise TypeError("expected an object with a name")
    auc, low, damaged = values["auc"], values["low"], values.get("damaged", "")
    if not isinstance(damaged, str):
        raise TypeError("damaged should be a text")
    for value in (auc, low):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{value!r:.40} is no AUC")
    if auc is None and not damaged:
        return None
    return Standing(values["name"][:LONGEST_NAME], auc, low, damaged[:LONGEST_NAME])


def doubts_about_model(
    knowledge: Knowledge, standings: Sequence[Standing], calibration: Calibration
) -> list[str]:
    """Why no verdict of this model means anything, whatever the video."""
    return [
        *_doubts_about_training(knowledge),
        *_doubts_about_standing(standings, calibration),
        *_doubts_about_calibration(calibration),
    ]


def _doubts_about_training(knowledge: Knowledge) -> list[str]:
    if not knowledge.known:
        return [
            "nobody knows what the model was trained on (of an older run of unmask, `train --run "
            "DIR --resume` writes it down; of a release by others nothing does)"
        ]
    if knowledge.drawn:
        return ["trained on drawn faces, which say nothing about real ones"]
    doubts = []
    if knowledge.real_only:
        if knowledge.real < FEWEST_VIDEOS:
            doubts.append(
                f"trained on {knowledge.real} real videos, at least {FEWEST_VIDEOS} are needed"
            )
    elif min(knowledge.real, knowledge.fake) < FEWEST_VIDEOS:
        doubts.append(
            f"trained on {knowledge.real} real and {knowledge.fake} fake videos, at least "
            f"{FEWEST_VIDEOS} of each are needed"
        )
    if knowledge.people is not None and knowledge.people < FEWEST_PEOPLE:
        doubts.append(f"trained on {knowledge.people} people, at least {FEWEST_PEOPLE} are needed")
    return doubts


def _doubts_about_standing(standings: Sequence[Standing], calibration: Calibration) -> list[str]:
    found = list(standings)
    if calibration.auc is not None:
        where = f"the videos of its calibration ({calibration.source or 'no known file'})"
        found.append(Standing(where, calibration.auc, calibration.auc_low))
    doubts = [
        f"no better than chance on {s.name} (AUC {s.auc:.3f}, interval from {s.low:.3f})"
        for s in found
        if s.low is not None and s.low <= 0.5
    ]
    doubts += [
        f"nobody knows how well it did on {s.name}: the evaluation cannot be read ({s.damaged})"
        for s in found
        if s.damaged
    ]
    if not any(s.low is not None for s in found):
        doubts.append("nobody has measured that the model is better than chance: evaluate it")
    return doubts


def _doubts_about_calibration(calibration: Calibration) -> list[str]:
    if calibration.rests_on_enough:
        return []
    if not calibration.videos:
        return ["no calibration on validation videos: evaluate --threshold-from fits one"]
    return [
        f"its calibration rests on {calibration.basis}; {videos_needed(calibration.error)} of "
        f"each are needed to promise an error rate of {calibration.error:.0%}"
    ]


def doubts_about_looks(knowledge: Knowledge, looks: NDArray[np.float64]) -> list[str]:
    """In what the crops of one person are unlike those of training; looks: (K,) of
    clips.looks.NOTICED.
    """
    if not knowledge.known or not len(looks):
        return []
    if not knowledge.looks:
        return ["nobody knows how the crops of training looked"]
    doubts = []
    for (name, least), value in zip(NOTICED.items(), looks.tolist(), strict=True):
        spread = knowledge.looks.get(name)
        if spread is None:
            continue
        low, high = spread.fences(least)
        if not low <= value <= high:
            doubts.append(f"{name} {value:.3g}, in training {low:.3g} to {high:.3g}")
    return [f"its crops are unlike those of training: {', '.join(doubts)}"] if doubts else []
