"""What README and CONTRIBUTING say of the sources is so."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

import unmask
from tests.test_structure import CONTRACT
from unmask.plugins import KINDS

ROOT = Path(__file__).parent.parent


def test_contributing_draws_the_rule_that_is_tested() -> None:
    assert CONTRACT.strip() in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_source_that_is_named_exists(document: str) -> None:
    named = re.findall(
        r"[`(]((?:pipeline|models|commands|tests|unmask|benchmarks|docs)/[\w/.-]*)[`)]",
        (ROOT / document).read_text(),
    )
    assert named and not [name for name in named if not (ROOT / name).exists()]


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    text = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    absent = [
        f"{file}::{test}"
        for file, test in named
        if test and f"def {test}(" not in (ROOT / file).read_text()
    ]
    assert len(named) > 80 and not absent and all((ROOT / file).exists() for file, _ in named)
    rows = re.findall(r"^### ([ABCDF]\d+)\b", text, re.M)
    kinds = {"A": 12, "B": 7, "C": 8, "D": 6, "F": 18}
    assert len(rows) == len({*rows}) == sum(kinds.values())


def test_contributing_names_every_door() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f"`unmask.{kind} = " in text for kind in KINDS)


def test_a_type_checker_reads_every_module_of_the_public_interface() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    files = {file.strip() for file in config["mypy"]["files"].split(",")}
    behind = set()
    for module in {*unmask._HOMES.values(), "unmask", "unmask.plugins"}:
        path = Path(*module.split("."))
        behind.add(f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py")
    assert behind <= files
    assert all((ROOT / file).exists() for file in files) and "unmask/testing" in files
    assert (ROOT / "unmask" / "py.typed").exists()
