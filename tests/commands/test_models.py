"""The models command: the table, one model in detail, and what it says when asked for something
else.
"""

from __future__ import annotations

import pytest

from unmask.commands.main import main
from unmask.models import list_models
from unmask.models.recipes import published


def test_the_table_lists_every_model_with_counted_numbers(capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    rows = {line.split()[0]: line for line in text.splitlines()[1:] if line.split()}
    assert set(list_models()) <= set(rows)
    for word in ("248,107,394", "88.48", "consecutive(5), 240 px by crop", "arXiv 2105.00187"):
        assert word in rows["clrnet"]
    for word in ("135,632,756", "221.47", "chained(30), 224 px by crop"):
        assert word in rows["xception_lstm"]


def test_one_model_by_stage_with_its_options_and_recipes(capsys, monkeypatch):
    own = {"width": 8, "frames": 3}
    monkeypatch.setitem(published.RECIPE_OPTIONS, ("clrnet", "short"), own)
    assert main(["models", "clrnet", "--option", "width=8", "--option", "size=96"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert "1 x 5 x 3 x 96 x 96" in text
    assert lines["stem.conv"][1:] == [
        "ConvLSTM",
        "5",
        "x",
        "8",
        "x",
        "48",
        "x",
        "48",
        *_counts(3, 8, 7, 5 * 48 * 48),
    ]
    assert lines["total"][1] == "CLRNet"
    assert lines["gate_act"] == ["gate_act", "hard02", "hard02|sigmoid"]
    assert lines["paper"][:5] == ["paper", "5e-05", "16", "300", "-"]
    assert lines["short"][4:6] == ["width=8", "frames=3"]


def _counts(channels: int, filters: int, kernel: int, places: int) -> list[str]:
    weights = kernel * kernel * (channels + filters) * 4 * filters
    return [f"{weights + 4 * filters:,}", "0", f"{places * weights:,}"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clrnt"], "no model 'clrnt'; did you mean 'clrnet'?"),
        (["clrnet", "--option", "widht=8"], "no option 'widht'; did you mean 'width'?"),
        (["clrnet", "--option", "width=9"], "width='9' is not 64|32|16|8"),
        (["m2tr", "--option", "side=100"], "not a multiple of 32"),
        (["--option", "width=8"], "needs the NAME of a model"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(words, message, capsys):
    assert main(["models", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
