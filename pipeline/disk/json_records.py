"""JSON values as one of our dataclasses: every field known, present where it has no default, and of
its type.

The annotations of the dataclass are the schema, so there is no second list that could be forgotten.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from unmask.pipeline.errors import PipelineError

Record = TypeVar("Record")

_ABSENT = object()


def record_of(
    kind: type[Record],
    values: object,
    where: object,
    error: type[PipelineError],
    inside: str = "",
) -> Record:
    """A `kind` from a JSON object; lists become tuples, and texts become paths, where it has such.

    where: what a refusal names, a path or a path with a line.
    inside: written before a field's name, such as `config.`.
    Raises: `error` naming the field that is unknown, absent, or of another type.
    """
    if not isinstance(values, dict):
        raise error(f"{where}: damaged: {type(values).__name__} where a JSON object belongs")
    hints, needed = _schema(kind)
    for name in values:
        if name not in hints:
            raise error(
                f"{where}: has a field {inside + name!r:.80} that this version does not know"
            )
    if absent := sorted(needed - values.keys()):
        raise error(f"{where}: lacks {', '.join(inside + name for name in absent)}")
    made = {}
    for name, value in values.items():
        made[name] = _converted(value, hints[name])
        if made[name] is _ABSENT:
            raise error(f"{where}: {inside}{name} is {value!r:.80}, expected {_words(hints[name])}")
    return kind(**made)


@functools.lru_cache(maxsize=32)
def _schema(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """(annotation of every field, names of the fields without a default)."""
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}, frozenset(needed)


def _converted(value: Any, hint: Any) -> Any:
    """`value` as the annotation has it, or _ABSENT where it is of another type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin is Literal:
        return value if any(value == one and type(value) is type(one) for one in inner) else _ABSENT
    if origin in (Union, types.UnionType):
        found = (_converted(value, one) for one in inner)
        return next((made for made in found if made is not _ABSENT), _ABSENT)
    if origin is tuple:
        return _tuple(value, inner)
    kind = origin or hint
    if kind is Path:
        return Path(value) if isinstance(value, str) and "\0" not in value else _ABSENT
    if kind is float:
        whole_or_not = isinstance(value, int | float) and not isinstance(value, bool)
        return value if whole_or_not else _ABSENT
    if kind is int:
        return value if type(value) is int else _ABSENT
    if kind is types.NoneType:
        return None if value is None else _ABSENT
    return value if isinstance(value, kind) else _ABSENT


def _tuple(value: Any, inner: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        return _ABSENT
    every = len(inner) == 2 and inner[1] is Ellipsis
    if not every and len(value) != len(inner):
        return _ABSENT
    made = tuple(
        _converted(item, inner[0] if every else inner[place]) for place, item in enumerate(value)
    )
    return _ABSENT if any(item is _ABSENT for item in made) else made


def _words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
