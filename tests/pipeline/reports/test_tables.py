"""One table in five spellings, each safe where it is read."""

from __future__ import annotations

import csv
import io
import json

import pytest

from unmask.pipeline.reports.tables import (
    Table,
    as_json,
    comma_separated,
    latex,
    markdown,
    plain,
    terminal,
)
from unmask.pipeline.scores.metrics import Measure

TABLE = Table(
    "T",
    ("name", "n", "AUC"),
    (
        ("plain", 3, Measure(0.5, 0.25, 0.75)),
        ("=1+1|a_b%$<b>\x1b[2J", 10, Measure(None, note="one class")),
    ),
)


def test_terminal_is_aligned_and_cannot_be_coloured_by_a_name() -> None:
    lines = terminal(TABLE).splitlines()
    assert lines[1].endswith("0.500 [0.250, 0.750]")
    assert lines[2].endswith("–")
    assert "\x1b" not in terminal(TABLE)
    assert lines[0].index("AUC") + 3 == len(lines[1])


def test_markdown_cells_stay_cells() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[1] == "| --- | ---: | ---: |"
    assert lines[3].replace("\\|", "").count("|") == 4
    assert "\\<b\\>" in lines[3]


def test_csv_keeps_every_digit_and_no_formula() -> None:
    third = Table("T", ("name", "AUC"), (("a", Measure(1 / 3, 0.1, 0.9)), ("=x", Measure(None))))
    rows = list(csv.reader(io.StringIO(comma_separated(third))))
    assert rows[0] == ["name", "AUC", "AUC low", "AUC high"]
    assert float(rows[1][1]) == 1 / 3
    assert rows[2] == ["'=x", "", "", ""]


def test_json_is_json() -> None:
    rows = json.loads(as_json(TABLE))["rows"]
    assert rows[0]["AUC"] == {"value": 0.5, "low": 0.25, "high": 0.75, "note": ""}
    assert rows[1]["AUC"]["note"] == "one class"


def test_latex_escapes_its_special_characters() -> None:
    text = latex(TABLE)
    assert r"a\_b\%\$" in text
    assert text.startswith("\\begin{tabular}{lrr}\n\\toprule\nname & n & AUC \\\\")


def test_cells_as_text() -> None:
    assert plain(Measure(0.12345)) == "0.123"
    assert plain(None) == "–"
    assert plain(7) == "7"


def test_a_short_row_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Table("T", ("a", "b"), (("x",),))
