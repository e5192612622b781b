"""Options made from a dataclass: its types, choices and defaults, and nothing written twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import click
import pytest
from click.testing import CliRunner

from unmask.commands.field_options import field_option
from unmask.commands.train import command as train
from unmask.pipeline.config import TrainConfig


@dataclass(frozen=True)
class Config:
    """One field of each kind."""

    colour: Literal["red", "blue"] = "blue"
    size_px: int = 3
    rate: float = 0.5
    name: str = ""
    quick: bool = False
    loud: bool = True


@click.command()
@field_option(Config(), "colour", "Which.")
@field_option(Config(), "size_px", "How large.", least=1)
@field_option(Config(), "rate", "How fast.", least=0)
@field_option(Config(), "name", "Of whom.", metavar="WORD")
@field_option(Config(), "quick", "Hurry.")
@field_option(Config(), "loud", "Shout.")
def command(**values: object) -> None:
    click.echo(repr(sorted(values.items())))


def said(*words: str) -> str:
    return CliRunner().invoke(command, list(words)).output.strip()


def test_without_words_the_options_are_the_dataclass() -> None:
    assert said() == repr(sorted(vars(Config()).items()))


def test_each_word_becomes_a_value_of_the_fields_type() -> None:
    words = ["--colour", "red", "--size-px", "4", "--rate", "2", "--name", "a", "--quick"]
    expected = {"colour": "red", "size_px": 4, "rate": 2.0, "name": "a", "quick": True}
    assert said(*words, "--no-loud") == repr(sorted({**expected, "loud": False}.items()))


@pytest.mark.parametrize(
    "words", [["--colour", "green"], ["--size-px", "0"], ["--rate", "nan"], ["--rate", "-1"]]
)
def test_values_that_the_field_cannot_have_are_refused_by_name(words: list[str]) -> None:
    assert f"Invalid value for '{words[0]}'" in said(*words)


def test_every_option_of_train_has_a_help_and_the_default_of_its_field() -> None:
    fields = vars(TrainConfig())
    for option in train.params:
        assert option.help, option.name
        if option.name in fields and option.name not in ("manifest", "val"):
            default = option.default if not option.multiple else {}
            assert default == fields[option.name], option.name
