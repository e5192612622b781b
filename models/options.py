"""Options of a model as its constructor's signature declares them: defaults, types, checks, words
to values.
"""

from __future__ import annotations

import difflib
import inspect
import json
import math
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class ModelError(ValueError):
    """An unknown model, option, recipe or loss, or a value it cannot have: one line, shown to the
    user as it is.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word: what was perhaps meant, else everything there
    is.
    """
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return (
        f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(names) or 'none'}"
    )


def option_types(cls: type) -> dict[str, Any]:
    """Option -> type, in the order of the constructor."""
    hints = get_type_hints(cls.__init__)
    return {name: hints[name] for name in list(inspect.signature(cls.__init__).parameters)[1:]}


def option_defaults(cls: type) -> dict[str, Any]:
    """Option -> default, in the order of the constructor."""
    return {
        name: value.default
        for name, value in list(inspect.signature(cls.__init__).parameters.items())[1:]
    }


def type_text(kind: Any) -> str:
    """A type as a user reads it: `64|32|16`, `whole number`, `yes|no`."""
    if get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(type_text(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        inner = [part for part in get_args(kind) if part is not Ellipsis]
        text = ", ".join(type_text(part) for part in inner)
        return f"[{text}, ...]" if Ellipsis in get_args(kind) else f"[{text}]"
    return {
        int: "whole number",
        float: "number",
        bool: "yes|no",
        str: "text",
        NoneType: "none",
    }.get(kind, str(kind))


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of an option's type; True, NaN and infinity are no numbers, 1 is a number,
    a list is a tuple.
    """
    if get_origin(kind) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if not isinstance(value, list | tuple):
            return False
        if inner[-1] is Ellipsis:
            inner = (inner[0],) * len(value)
        return len(value) == len(inner) and all(map(fits, value, inner))
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and _finite(value)
    return isinstance(value, kind)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def check_options(cls: type, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as a dict once each is known and of its type. Raises ModelError."""
    types = option_types(cls)
    for option, value in options.items():
        if option not in types:
            raise ModelError(f"{name} has no option '{option}'{nearest(option, types)}")
        if not fits(value, types[option]):
            raise ModelError(f"{name}: {option}={value!r:.80} is not {type_text(types[option])}")
    return dict(options)


def from_text(text: str, kind: Any) -> Any:
    """A word as a value of the type; a tuple is JSON, `[[10, 0.1]]`, or words with commas. Raises
    ValueError.
    """
    if get_origin(kind) is Literal:
        return {str(choice): choice for choice in get_args(kind)}.get(text, text)
    if get_origin(kind) in (Union, UnionType):
        if NoneType in get_args(kind) and text == "none":
            return None
        return from_text(text, next(part for part in get_args(kind) if part is not NoneType))
    if get_origin(kind) is tuple:
        if text.startswith("["):
            return json.loads(text)
        first = get_args(kind)[0]
        return tuple(from_text(part, first) for part in text.split(",") if part)
    if kind is bool:
        return WORDS.get(text.lower(), text)
    return kind(text)


def parse_options(cls: type, name: str, texts: Iterable[str]) -> dict[str, Any]:
    """`["width=16", "norm=unit"]` -> {"width": 16, "norm": "unit"}, typed and checked. Raises
    ModelError.
    """
    types, options = option_types(cls), {}
    for text in texts:
        option, equals, value = text.partition("=")
        if not equals:
            raise ModelError(f"{name}: '{text}' is not option=value")
        try:
            options[option] = from_text(value, types.get(option, str))
        except ValueError:
            raise ModelError(
                f"{name}: {option}={value!r:.80} is not {type_text(types[option])}"
            ) from None
    return check_options(cls, name, options)
