"""Options that set one field of a configuration; type, choices and default stand in the dataclass
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from unmask.commands.numbers import Number


def field_option(
    config: Any,
    name: str,
    help: str,
    *,
    least: float | None = None,
    kind: click.ParamType | None = None,
    metavar: str | None = None,
) -> Callable[[Any], Any]:
    """`--name` for the field `name`: a flag for a bool (`--name/--no-name` where it is on by
    default), a choice for a Literal, a number of at least `least`, else text.

    config: the configuration with its defaults.
    kind: instead of the type that follows from the field.
    """
    hint, default = get_type_hints(type(config))[name], getattr(config, name)
    word = name.replace("_", "-")
    if hint is bool:
        flag = f"--{word}/--no-{word}" if default else f"--{word}"
        return click.option(
            flag, name, is_flag=True, default=default, show_default=default, help=help
        )
    if kind is None and get_origin(hint) is Literal:
        kind = click.Choice([str(choice) for choice in get_args(hint)])
    elif kind is None and hint is int:
        kind = click.IntRange(None if least is None else int(least))
    elif kind is None and hint is float:
        kind = Number(least)
    return click.option(
        f"--{word}",
        name,
        type=kind,
        default=default,
        show_default=default != "",
        help=help,
        metavar=metavar,
    )
