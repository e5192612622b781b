"""One table, five spellings: terminal, markdown, CSV, JSON and LaTeX, with every cell made safe
for its place.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unmask.pipeline.reports.printable import printable
from unmask.pipeline.scores.csv_file import protect
from unmask.pipeline.scores.metrics import METRICS, Measure
from unmask.pipeline.scores.results import Block

Cell = str | int | float | Measure | None

NONE = "–"
DIGITS = 3


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of equal length."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"table {self.title!r}: a row has not {len(self.header)} cells")


def number(value: float | None, digits: int = DIGITS) -> str:
    """A metric as people read it; null is a dash."""
    return NONE if value is None else f"{value:.{digits}f}"


def plain(cell: Cell, interval: bool = True) -> str:
    """A cell as one line of text, e.g. `0.912 [0.880, 0.941]`."""
    if isinstance(cell, Measure):
        known = interval and cell.low is not None and cell.high is not None
        return number(cell.value) + (f" [{number(cell.low)}, {number(cell.high)}]" if known else "")
    if isinstance(cell, float) or cell is None:
        return number(cell)
    return printable(str(cell))


def terminal(table: Table) -> str:
    """Aligned columns, numbers to the right."""
    body = [[plain(cell) for cell in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(table.header, *body, strict=True)]
    left = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(widths))]

    def line(cells: Sequence[str]) -> str:
        placed = (
            c.ljust(w) if at else c.rjust(w) for c, w, at in zip(cells, widths, left, strict=True)
        )
        return "  ".join(placed).rstrip()

    return "\n".join([line(table.header), *map(line, body)])


def markdown(table: Table) -> str:
    """A GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    safe = [[_markdown(plain(cell)) for cell in row] for row in table.rows]
    rule = [
        "---" if all(isinstance(row[i], str) for row in table.rows) else "---:"
        for i in range(len(table.header))
    ]
    return "\n".join(
        [line([_markdown(name) for name in table.header]), line(rule), *map(line, safe), ""]
    )


def _markdown(text: str) -> str:
    for character in "\\`*<>|":
        text = text.replace(character, f"\\{character}")
    return text


def latex(table: Table) -> str:
    """A booktabs tabular, intervals as small print."""

    def cell(value: Cell) -> str:
        if isinstance(value, Measure) and value.low is not None and value.high is not None:
            interval = f"[{number(value.low)}, {number(value.high)}]"
            return rf"{number(value.value)} {{\scriptsize {interval}}}"
        return _latex(plain(value))

    columns = "".join(
        "l" if all(isinstance(row[i], str) for row in table.rows) else "r"
        for i in range(len(table.header))
    )
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_latex, table.header)) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(map(cell, row)) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        NONE: "--",
        **{c: f"\\{c}" for c in "&%$#_{}"},
    }
    return "".join(special.get(c, c) for c in text)


def comma_separated(table: Table) -> str:
    """CSV with value, low and high of a metric in columns of their own, digits unshortened."""
    wide = [
        any(isinstance(row[i], Measure) for row in table.rows) for i in range(len(table.header))
    ]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    names = [
        [name, f"{name} low", f"{name} high"] if w else [name]
        for name, w in zip(table.header, wide, strict=True)
    ]
    writer.writerow([protect(name) for group in names for name in group])
    for row in table.rows:
        cells: list[str] = []
        for cell, w in zip(row, wide, strict=True):
            values = (
                (cell.value, cell.low, cell.high)
                if isinstance(cell, Measure)
                else (cell, None, None)
            )
            cells += [_exact(value) for value in (values if w else values[:1])]
        writer.writerow(cells)
    return out.getvalue()


def _exact(value: Cell) -> str:
    if value is None:
        return ""
    return protect(printable(value)) if isinstance(value, str) else repr(value)


def as_json(table: Table) -> str:
    """A list of objects, one per row, keys as the header."""
    rows = [
        {
            name: cell.as_json() if isinstance(cell, Measure) else cell
            for name, cell in zip(table.header, row, strict=True)
        }
        for row in table.rows
    ]
    return json.dumps({"title": table.title, "rows": rows}, indent=1, allow_nan=False) + "\n"


WRITERS = {"md": markdown, "csv": comma_separated, "json": as_json, "tex": latex}


def metrics_row(name: str, block: Block, keys: Sequence[str] | None = None) -> tuple[Cell, ...]:
    """name, n per class and the metrics of one block of an evaluation.

    keys: of METRICS, None for all.
    """
    chosen = METRICS if keys is None else keys
    return name, block.sizes.real, block.sizes.fake, *map(block.measure, chosen)


def metrics_table(
    title: str, blocks: Mapping[str, Block], first: str, keys: Sequence[str] | None = None
) -> Table:
    """One row per block; `first` names what a row is, `keys` the metrics, None for all."""
    chosen = METRICS if keys is None else keys
    header = (first, "real", "fake", *(METRICS[key].name for key in chosen))
    return Table(
        title, header, tuple(metrics_row(name, block, keys) for name, block in blocks.items())
    )


def levels_table(levels: Mapping[str, Block]) -> Table:
    """One row per metric, one column per level of an evaluation: the table that is read first."""
    rows = [
        (metric.name, *(block.measure(key) for block in levels.values()))
        for key, metric in METRICS.items()
    ]
    return Table("Metrics", ("metric", *levels), tuple(rows))
