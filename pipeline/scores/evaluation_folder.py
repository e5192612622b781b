"""One evaluation on disk: scores.csv, the file all numbers come from, and metrics.json, every
number with its settings and hashes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.scores.json_fields import read_fields
from unmask.pipeline.scores.results import Result

SCORES, METRICS_FILE = "scores.csv", "metrics.json"

# What metrics.json holds as one value.
Plain = str | int | float | bool | None


@dataclass(frozen=True)
class Evaluation:
    """What one manifest gave.

    name: of the manifest, e.g. ffpp-c23-test.
    folder: where everything lies.
    cautions: what a reader must know first.
    provenance: title -> name -> value: run, data, pixels and versions.
    robustness: title of each perturbation, the video AUC of clean crops, then of each level; None
        when it was not asked for.
    """

    name: str
    folder: Path
    result: Result
    cautions: Sequence[str] = ()
    provenance: dict[str, dict[str, Plain]] = field(default_factory=dict)
    robustness: Sequence[Sequence[str | float | None]] | None = None

    def as_json(self) -> dict[str, object]:
        """metrics.json as an object."""
        raw = {
            "name": self.name,
            "cautions": list(self.cautions),
            **self.result.as_json(),
            "provenance": self.provenance,
        }
        if self.robustness is not None:
            raw["robustness"] = [list(row) for row in self.robustness]
        return raw


def write_metrics(evaluation: Evaluation) -> None:
    """Put metrics.json into the evaluation's folder, whole."""
    text = json.dumps(evaluation.as_json(), indent=1, allow_nan=False) + "\n"
    write_whole(evaluation.folder / METRICS_FILE, text.encode())


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation of a folder, from its metrics.json.

    Raises ScoresError naming the file, and the field that is absent, of another type or out of
    range.
    """
    raw = read_fields(folder / METRICS_FILE)
    provenance = {
        title: {name: facts.plain(name) for name in facts}
        for title, facts in raw.objects("provenance")
    }
    return Evaluation(
        name=raw.text("name"),
        folder=folder,
        result=Result.from_json(raw),
        cautions=raw.texts("cautions"),
        provenance=provenance,
        robustness=raw.rows("robustness") if raw.has("robustness") else None,
    )
