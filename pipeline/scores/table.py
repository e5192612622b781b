"""The scores file: one CSV line per scored clip, written by us or by anybody, read back without
losing a bit.

    dataset,video_id,label,method,compression,split,track,clip,frame,logit,score[,row_label]

Needed: video_id, label (0 real, 1 fake) and score (probability of fake) or logit. Everything else
may be missing. label is that of the video; row_label, that of this very clip or frame, is written
for datasets with spans only, empty where the video's label holds.
Numbers are written with as many digits as read back to the same float64. A text cell that a
spreadsheet would run as a formula gets an apostrophe in front, which our reader takes away again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.calibration import logit, sigmoid

if TYPE_CHECKING:
    import pandas

TEXTS = ("dataset", "video_id", "method", "compression", "split")
COLUMNS = (
    "dataset",
    "video_id",
    "label",
    "method",
    "compression",
    "split",
    "track",
    "clip",
    "frame",
    "logit",
    "score",
    "row_label",
)
ABSENT = -1


@dataclass(frozen=True)
class Scores:
    """Columns of equal length R. clip, frame and track are -1 where the file says nothing; texts
    are "" there.

    clip: number of the clip in its video.
    frame: number of the picture in its file, for models of one frame.
    track: 0 the main person.
    logit: before the softmax, fake minus real.
    score: probability of fake.
    row_label: of the row where its video is fake in parts, else -1.
    """

    dataset: NDArray[np.str_]
    video_id: NDArray[np.str_]
    label: NDArray[np.int64]
    method: NDArray[np.str_]
    compression: NDArray[np.str_]
    split: NDArray[np.str_]
    track: NDArray[np.int64]
    clip: NDArray[np.int64]
    frame: NDArray[np.int64]
    logit: NDArray[np.float64]
    score: NDArray[np.float64]
    row_label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: NDArray) -> Scores:
        """The chosen rows: a mask (R,) or indices."""
        return Scores(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to_pandas(self) -> pandas.DataFrame:
        """The same rows as a pandas DataFrame, one column a field, in the order of the file.

        clip, frame, track and row_label are nullable integers, missing where they are -1 here.
        Raises UsageError where pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise UsageError(
                "a DataFrame needs pandas; install unmask[pandas], or read the columns as arrays"
            ) from error
        columns: dict[str, object] = {}
        for name in COLUMNS:
            values = getattr(self, name)
            if name in ("track", "clip", "frame", "row_label"):
                columns[name] = pandas.arrays.IntegerArray(values.copy(), values == ABSENT)
            else:
                columns[name] = values
        return pandas.DataFrame(columns)

    def with_score(self, score: NDArray[np.float64]) -> Scores:
        return replace(self, score=score)

    def by_row(self) -> Scores:
        """The same rows, each with its own label: what the clip and frame levels count."""
        return replace(self, label=np.where(self.row_label == ABSENT, self.label, self.row_label))

    @cached_property
    def video(self) -> NDArray[np.int64]:
        """(R,) number of each row's video.

        One video is one dataset, method, compression and name: FF++ calls a fake of each of its
        four methods 000_003.
        """
        return groups(self.dataset, self.method, self.compression, self.video_id)

    @property
    def level(self) -> str:
        """frame when the rows are single frames, clip when they are clips, video when every video
        has one row.
        """
        if (self.frame != ABSENT).any():
            return "frame"
        several = len(self) and np.bincount(self.video).max() > 1
        return "clip" if several or (self.clip != ABSENT).any() else "video"


def groups(*columns: NDArray) -> NDArray[np.int64]:
    """(R,) the number of each row's distinct combination, numbered in order of first appearance."""
    size = len(columns[0])
    # A column with one value tells no rows apart; most files have one data set.
    varying = [cells for column in columns if len(set(cells := column.tolist())) > 1]
    if not varying:
        return np.zeros(size, dtype=np.int64)
    if any(len(set(cells)) == size for cells in varying):
        return np.arange(size)
    keys = varying[0] if len(varying) == 1 else zip(*varying, strict=True)
    seen: dict[object, int] = {}
    return np.fromiter((seen.setdefault(key, len(seen)) for key in keys), np.int64, size)


def scores_table(**columns: Sequence | NDArray) -> Scores:
    """Scores from plain columns; whatever is not given is absent. score or logit must be given."""
    known = columns.get("score")
    size = len(columns["logit"] if known is None else known)
    values: dict[str, NDArray] = {}
    for name in COLUMNS:
        if name in columns:
            kind = str if name in TEXTS else np.float64 if name in ("logit", "score") else np.int64
            values[name] = np.asarray(columns[name], dtype=object if kind is str else kind)
        elif name in TEXTS:
            values[name] = np.full(size, "", dtype=object)
        elif name not in ("logit", "score"):
            values[name] = np.full(size, ABSENT, dtype=np.int64)
    if "logit" not in values:
        values["logit"] = logit(values["score"])
    if "score" not in values:
        values["score"] = sigmoid(values["logit"])
    return Scores(**values)


def concatenate(parts: Sequence[Scores]) -> Scores:
    """All rows, in order."""
    return Scores(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Scores)
        }
    )
