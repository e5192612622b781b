"""Numbers that are none, in every option of every command that takes a number."""

from __future__ import annotations

import importlib
import os

import click
import pytest

from unmask.commands.main import COMMANDS, main
from unmask.commands.numbers import JOBS, SEED, Jobs, Number
from unmask.models.options import ModelError
from unmask.models.recipes.recipes import parse_overrides


def options_of(command: click.Command, name: str) -> list[tuple[str, click.Option]]:
    """(command and option, option), subcommands included."""
    found = [(f"{name} {p.opts[0]}", p) for p in command.params if isinstance(p, click.Option)]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            found += options_of(inner, f"{name} {inner.name}")
    return found


EVERY = [
    option
    for name, (module, _) in COMMANDS.items()
    for option in options_of(importlib.import_module(module).command, name)
]
NUMBERS = [
    pytest.param(option, id=place)
    for place, option in EVERY
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
]


def test_there_are_many_of_them() -> None:
    assert len(NUMBERS) > 40


@pytest.mark.parametrize("option", NUMBERS)
def test_no_option_takes_what_is_no_number_or_without_bound_below(option: click.Option) -> None:
    assert isinstance(option.type, click.IntRange | Number)
    assert isinstance(option.type, Jobs) or option.type.min is not None
    for word in ("nan", "inf", "-inf", "NaN", "1e999"):
        with pytest.raises(click.BadParameter):
            option.type.convert(word, option, None)
    for default in (option.default, option.type.min):
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert option.type.convert(str(default), option, None) == default


def test_processes_are_some_or_counted_from_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert [JOBS.convert(word, None, None) for word in ("1", "7", "-1", str(-cores))] == [
        *(1, 7, -1, -cores)
    ]
    for word in ("0", str(-cores - 1), "1.5", "5000"):
        with pytest.raises(click.BadParameter):
            JOBS.convert(word, None, None)
    for word in ("-1", str(2**32)):
        with pytest.raises(click.BadParameter):
            SEED.convert(word, None, None)


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "--jobs", "0"],
        ["verify", "--jobs", "0", "cache"],
        ["train", "--ema", "nan"],
        ["extract", "--seed", "-1"],
    ],
)
def test_it_is_one_line_that_names_the_option(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert words[1] in said and "\n" not in said


@pytest.mark.parametrize("word", ["lr=nan", "lr=inf", "betas=0.9,nan", "steps=[[1, NaN]]"])
def test_values_of_recipes_are_numbers_too(word: str) -> None:
    with pytest.raises(ModelError):
        from unmask.models.recipes.recipes import get_recipe

        get_recipe("clrnet", "paper", parse_overrides([word]))
