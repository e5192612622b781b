"""Fake spans of the temporal datasets: checked, clipped to the video, sorted."""

from __future__ import annotations

import math
from collections.abc import Iterable

Span = tuple[float, float]


def clipped(spans: object, duration: float | None) -> tuple[tuple[Span, ...], int]:
    """(spans inside [0, duration] in order, how many were outside, empty or malformed).

    duration: seconds, or None when the list does not say.
    """
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


def _is_span(item: object) -> bool:
    if not isinstance(item, Iterable) or isinstance(item, str | bytes):
        return False
    values = list(item)
    return len(values) == 2 and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
