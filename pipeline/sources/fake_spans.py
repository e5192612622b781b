"""Fake spans of the temporal datasets: checked, clipped to the video, sorted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeGuard

Span = tuple[float, float]


def clipped(spans: object, duration: object) -> tuple[tuple[Span, ...], int]:
    """(spans inside [0, duration] in order, how many were outside, empty or malformed).

    duration: seconds; None, or anything that is no number, when the list does not say.
    """
    if not _is_number(duration):
        duration = None
    kept: list[Span] = []
    wrong = 0
    for item in spans if isinstance(spans, list) else []:
        if not _is_span(item):
            wrong += 1
            continue
        start, end = (
            max(0.0, float(item[0])),
            min(float(item[1]), math.inf if duration is None else duration),
        )
        wrong += (start, end) != (float(item[0]), float(item[1])) or end <= start
        if end > start:
            kept.append((start, end))
    return tuple(sorted(kept)), wrong


def are_spans(spans: object) -> bool:
    """Whether it is a list of (start, end), perhaps of none: only then it says what is fake."""
    return isinstance(spans, list) and all(map(_is_span, spans))


def _is_span(item: object) -> bool:
    if not isinstance(item, Iterable) or isinstance(item, str | bytes):
        return False
    values = list(item)
    return len(values) == 2 and all(map(_is_number, values))


def _is_number(value: object) -> TypeGuard[float]:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False
