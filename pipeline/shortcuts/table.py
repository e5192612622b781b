"""Signals as numbers that a classifier takes: ranks of numbers, one column a word, missing values
as a column of their own; nothing of a test fold is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.decode.facts import Value

Floats = NDArray[np.float64]

# A number with at most so many values (frame rates, sizes) is also a word, so that a leak in its
# middle is seen by a linear model.
FEW = 8
RARE = 0.01
MISSING, OTHER = "(missing)", "(rare)"


@dataclass(frozen=True)
class Column:
    """One signal of all videos. numbers: (R,) with nan where missing, or None for words."""

    family: str
    name: str
    values: tuple[Value, ...]

    @property
    def numbers(self) -> Floats | None:
        known = [value for value in self.values if value is not None]
        if not known or any(isinstance(value, str) for value in known):
            return None
        return np.array([np.nan if v is None else v for v in self.values], dtype=np.float64)

    @property
    def words(self) -> list[str]:
        """Each value as a word; numbers by six digits."""
        return [
            MISSING if v is None else v if isinstance(v, str) else f"{v:.6g}" for v in self.values
        ]

    @property
    def varies(self) -> bool:
        return len(set(self.words)) > 1


def columns_of(rows: Sequence[dict[str, dict[str, Value]]]) -> list[Column]:
    """Every signal that differs between videos."""
    names = dict.fromkeys((f, n) for row in rows for f, values in row.items() for n in values)
    made = [Column(f, n, tuple(row.get(f, {}).get(n) for row in rows)) for f, n in names]
    return [column for column in made if column.varies]


def encode(columns: Sequence[Column], train: NDArray, test: NDArray) -> tuple[Floats, Floats]:
    """(train rows, K) and (test rows, K), standardised on the training rows."""
    parts: list[tuple[Floats, Floats]] = []
    for column in columns:
        numbers = column.numbers
        if numbers is not None:
            parts.append(_ranks(numbers[train], numbers[test]))
        if numbers is None or len(set(column.words)) <= FEW or np.isnan(numbers).any():
            words = np.array(column.words, dtype=object)
            if numbers is not None and len(set(column.words)) > FEW:
                words = np.where(np.isnan(numbers), MISSING, "number")
            parts.append(_hot(words[train].tolist(), words[test].tolist()))
    first, second = (np.hstack([part[side] for part in parts]) for side in (0, 1))
    mean, spread = first.mean(axis=0), first.std(axis=0)
    spread[spread < 1e-12] = 1.0
    return (first - mean) / spread, (second - mean) / spread


def _ranks(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Share of the training values below, ties half; one half where missing."""
    ordered = np.sort(train[~np.isnan(train)])

    def rank(values: Floats) -> Floats:
        below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
        return np.where(np.isnan(values), 0.5, below / max(2 * len(ordered), 1))[:, None]

    return rank(train), rank(test)


def _hot(train: list[str], test: list[str]) -> tuple[Floats, Floats]:
    counts = Counter(train)
    kept = sorted(word for word, count in counts.items() if count >= RARE * len(train))
    kept = [*kept, OTHER]

    def hot(words: list[str]) -> Floats:
        known = set(kept)
        joined = [word if word in known else OTHER for word in words]
        return np.array([[word == one for one in kept] for word in joined], dtype=np.float64)

    return hot(train), hot(test)
