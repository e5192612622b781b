"""A linear probe on the stored features of a frozen encoder, measured beside the model.

A detector that does not beat it has learnt little that the encoder did not know. Logistic
regression in float64 on unit features of clips (L-BFGS, balanced classes); its L2 strength is
chosen among 10^-4 .. 10^4 by cross-validation over leakage groups, so that no person stands on both
sides. It is fitted on the training manifest of the run and never sees what is evaluated.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation.inference import clip_facts
from unmask.pipeline.features.store import find_key, read_features
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.reports.tables import Table, metrics_table
from unmask.pipeline.runs.run_folder import Run
from unmask.pipeline.scores.calibration import sigmoid
from unmask.pipeline.scores.results import Block
from unmask.pipeline.scores.table import ABSENT, Scores, scores_table

STRENGTHS = tuple(10.0**power for power in range(-4, 5))
FOLDS = 5
LINE = (
    "Logistic regression on the features of a frozen encoder ({key}), fitted on the training "
    "manifest; L2 strength {strength:g} by cross-validation over groups."
)


class Probe:
    """A probe fitted on a run's training manifest, ready for the manifests to be evaluated.

    key: of the features. strength: of its L2 penalty, chosen.
    Raises UsageError without such features or without both classes, CacheError for damaged ones.
    """

    def __init__(self, config: EvaluateConfig, run: Run, sources: Sequence[ClipSource]) -> None:
        if run.manifest == Path() or not run.manifest.is_file():
            raise UsageError(
                f"--probe is fitted on the training manifest of {run.folder}, which is gone"
            )
        self.store, self.cache = Path(config.store), Path(config.cache)
        training = ClipSource(run.manifest, self.cache, ClipSpec("single", 1))
        entries = [*training.entries, *(one for source in sources for one in source.entries)]
        self.key = find_key(self.store, entries, config.probe)
        features, label, video = self._clips(training)
        group = _groups(training)[video]
        if len(set(label.tolist())) < 2:
            raise UsageError(f"--probe: {run.manifest} has videos of one class only")
        self.strength = chosen_strength(features, label, group)
        self.model = fitted(features, label, self.strength)

    def score(self, source: ClipSource) -> Scores:
        """One row a clip, as a model's scores."""
        features, label, video = self._clips(source)
        logit = self.model.decision_function(features)
        facts = [clip_facts(source, number) for number in range(len(source))]
        rows = [facts[number] for number in video]
        first = np.searchsorted(video, np.arange(len(source)))
        return scores_table(
            **{
                name: [row[name] for row in rows]
                for name in ("dataset", "video_id", "method", "compression", "split")
            },
            label=label.tolist(),
            row_label=[ABSENT] * len(rows),
            track=[row["track"] for row in rows],
            clip=(np.arange(len(video)) - first[video]).tolist(),
            frame=[ABSENT] * len(rows),
            logit=logit,
            score=sigmoid(logit),
        )

    @property
    def line(self) -> str:
        """How it was made, for a report."""
        return LINE.format(key=self.key, strength=self.strength)

    def _clips(
        self, source: ClipSource
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """(R, C) unit mean of the unit features of each clip's frames, (R,) label and (R,) number
        of the video of each.
        """
        found = read_features(self.store, self.cache, source.entries, self.key)
        clips = [unit(unit(one.astype(np.float64)).mean(1)) for one in found.features]
        counts = [len(one) for one in clips]
        label = np.repeat(np.where(source.labels == FAKE, FAKE, REAL), counts)
        return np.concatenate(clips), label, np.repeat(np.arange(len(source)), counts)


def _groups(source: ClipSource) -> NDArray[np.int64]:
    """(V,) a number for each leakage group; a video without one counts with its original."""
    names: dict[object, int] = {}
    numbers = []
    pairs = source.pairs
    for video, reader in enumerate(source.readers):
        owner = pairs[video] if pairs[video] is not None else video
        name = reader.attributes.get("group") or owner
        numbers.append(names.setdefault(name, len(names)))
    return np.array(numbers)


def unit(feature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features (..., C) at unit length; zeros stay."""
    length = np.linalg.norm(feature, axis=-1, keepdims=True)
    return feature / np.where(length > 0, length, 1)


def fitted(
    features: NDArray[np.float64], label: NDArray[np.int64], strength: float
) -> LogisticRegression:
    """The regression; strength is the inverse of scikit-learn's C."""
    model = LogisticRegression(C=1 / strength, class_weight="balanced", max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weakest penalties take longest
        return model.fit(features, label)


def chosen_strength(
    features: NDArray[np.float64], label: NDArray[np.int64], group: NDArray[np.int64]
) -> float:
    """The strength with the least log-loss on groups that were left out, the strongest of equals;
    1 where there are too few groups to leave one out.
    """
    folds = min(FOLDS, len(set(group.tolist())))
    splits = list(GroupKFold(folds).split(features, label, group)) if folds > 1 else []
    splits = [(a, b) for a, b in splits if len(set(label[a].tolist())) == 2]
    if not splits:
        return 1.0
    losses = {
        strength: sum(
            log_loss(
                label[held],
                fitted(features[kept], label[kept], strength).predict_proba(features[held]),
                labels=[REAL, FAKE],
            )
            for kept, held in splits
        )
        for strength in reversed(STRENGTHS)
    }
    return min(losses, key=lambda strength: losses[strength])


def beside(model: Block, probe: Block) -> Table:
    """The model's numbers and the probe's, one row each."""
    blocks = {"model": model, "linear probe": probe}
    return metrics_table("Linear probe on frozen features, video level", blocks, "what")
