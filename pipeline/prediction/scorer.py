"""A trained run comes in, a Scorer goes out: what turns prepared clips into logits, and how its
crops were cut.

Predict asks a Scorer and never a model, so that runs and exported files
(pipeline/prediction/exported.py) are used alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from unmask.models.spec import ClipSpec
from unmask.pipeline.config import CropConfig, PredictConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.devices import choose_device
from unmask.pipeline.prediction.crop_settings import crop_of, for_prediction
from unmask.pipeline.prediction.trust import Standing, doubts_about_model, standings_of
from unmask.pipeline.reports.tables import Cell
from unmask.pipeline.runs.knowledge import Knowledge
from unmask.pipeline.runs.provenance import known_of, run_facts
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.calibration import Calibration
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.scores.video_scores import video_scores

log = logging.getLogger(__name__)

Logits = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Scorer:
    """One member of an ensemble.

    logits: (clip (B,T,3,S,S), bands or None) -> (B,2), on `device`.
    crop: settings of the crops it was trained on.
    reference: the reference values (extraction/reference.py) of the machine that made these crops,
        "" where nobody knows.
    network: the module behind it where there is one, for its attention.
    facts: how it was made, in groups.
    evaluations: folder with its evaluations, or None.
    cautions: what a reader of its scores must know.
    knowledge: of its training.
    standings: how well it did where it was evaluated.
    """

    name: str
    source: Path
    spec: ClipSpec
    crop: CropConfig
    calibration: Calibration
    logits: Logits
    device: str
    network: nn.Module | None = None
    facts: dict[str, dict[str, Cell]] = field(default_factory=dict)
    evaluations: Path | None = None
    reference: str = ""
    cautions: tuple[str, ...] = ()
    knowledge: Knowledge = field(default_factory=Knowledge)
    standings: tuple[Standing, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """Why no verdict of it means anything, whatever the video; empty for a good model."""
        return doubts_about_model(self.knowledge, self.standings, self.calibration)


def from_run(folder: Path, config: PredictConfig) -> Scorer:
    """The network of a run folder with its crop settings and calibration.

    Raises CheckpointError for a damaged run, or one whose crop settings nobody knows any more;
    UsageError for a calibration file that is not ours.
    """
    run, device = open_run(folder), choose_device(config.device)
    model, point = load_model(run, config.which)
    crop, cautions = crop_of(run, Path(config.cache) if config.cache else None)
    crop, more = for_prediction(crop, config)
    calibration, knowledge = calibration_of(folder), known_of(run)
    model = model.to(device)
    return Scorer(
        name=folder.resolve().name,
        source=folder,
        spec=replace(model.spec, masks=False),
        crop=crop,
        calibration=calibration,
        logits=model,
        device=device,
        network=model,
        facts=run_facts(run, point, crop.settings()),
        evaluations=folder / "evaluations",
        reference=str(run.settings.get("reference", "")),
        cautions=(
            *knowledge.cautions,
            *(line for line in (*cautions, *more, calibration.note) if line),
        ),
        knowledge=knowledge,
        standings=standings_of(folder / "evaluations"),
    )


def calibration_of(folder: Path) -> Calibration:
    """What `evaluate --threshold-from` left in the run, else a fit to its evaluated validation
    set, else the default.
    """
    if (folder / cal.FILE).is_file():
        return cal.read_calibration(folder / cal.FILE)
    for path in sorted((folder / "evaluations").glob("*-val/scores.csv")):
        rows, sha256 = read_scores(path)
        joined = video_scores(rows)
        try:
            return cal.fit_calibration(joined.label, joined.score, source=str(path), sha256=sha256)
        except UsageError as error:
            log.warning("no calibration from %s: %s", path, error)
    return cal.DEFAULT
