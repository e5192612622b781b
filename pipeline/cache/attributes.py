"""The attributes of a video by type, wherever they were kept: a forged field is a refusal that
names it, not a fault of whoever reads it later.

Attributes are open: what a dataset adds is kept as it is. Those that some part of unmask reads have
the types below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unmask.pipeline.errors import PipelineError

TEXTS = (
    "dataset", "key", "video_id", "pair", "method", "compression", "group", "split",
    "split_origin", "origin",
)  # fmt: skip
WHOLE = ("label", "track", "persons", "groups")
OBJECTS = ("file", "mask_file", "media", "outcome", "settings", "libraries")


def checked_attributes(
    values: Any,
    where: object,
    error: type[PipelineError],
    clips: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """`values` where every field that unmask reads is absent, null or of its type.

    where: what a refusal names.
    clips: (clips, frames of a clip) of the video's crops, which `index` and `pts` must have.
    Raises: `error`.
    """
    if not isinstance(values, dict):
        raise error(f"{where}: damaged: attributes are {type(values).__name__}, not an object")
    for name, value in values.items():
        kind = KINDS.get(name)
        if kind is not None and value is not None and not kind[1](value):
            raise error(f"{where}: damaged: {name} is {value!r:.80}, expected {kind[0]}")
    media = values.get("media") or {}
    for name in ("fps", "start"):
        if media.get(name) is not None and not _number(media[name]):
            raise error(f"{where}: damaged: media.{name} is {media[name]!r:.80}, not a number")
    for name in ("index", "pts") if clips else ():
        if name in values and _shape(values[name]) != clips:
            raise error(f"{where}: damaged: {name} does not have {clips[0]} x {clips[1]} numbers")
    return values


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spans(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(span, list) and len(span) == 2 and all(map(_number, span)) for span in value
    )


def _shape(rows: Any) -> tuple[int, ...] | None:
    """Shape of a list of equal lists of numbers."""
    try:
        values = np.asarray(rows)
    except ValueError:  # lists of different length
        return None
    return values.shape if values.dtype.kind in "iuf" else None


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **{name: ("a text", lambda value: isinstance(value, str)) for name in TEXTS},
    **dict.fromkeys(WHOLE, ("a whole number", _whole)),
    **{name: ("an object", lambda value: isinstance(value, dict)) for name in OBJECTS},
    **dict.fromkeys(("fake_spans", "fake_frames"), ("pairs of numbers", _spans)),
}
