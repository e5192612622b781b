"""A board as tables, one static page and one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.evaluation.board import Beside, Board, Row, Sheet
from unmask.pipeline.reports.html import write_page
from unmask.pipeline.reports.tables import WRITERS, Cell, Table
from unmask.pipeline.scores.metrics import METRICS, Measure
from unmask.pipeline.scores.spread import Spread

PAGE, DOCUMENT = "board.html", "board.json"
FORMAT = 1

NOTES = (
    "AUC has DeLong's interval, ACC and recall Wilson's, EER a bootstrap over videos. They say how "
    "far other videos of the same kind would move a number.",
    "Where a detector has several seeds its numbers are mean ± standard deviation (n - 1) over "
    "trainings: how far another training would move them, not other videos.",
    "Each detector is tested against the best of its data set (DeLong, two-sided; of several seeds "
    "the one whose AUC is the median stands for all, as the test takes one); p after Holm "
    "keeps the chance of one false \u201cworse\u201d in a table at 5 %. The best is chosen on the "
    "same videos, so a small gap is flattered.",
    "DeLong's test takes videos as independent. Several fakes of one original are not: then p is "
    "too small and intervals too narrow.",
    "Where a paper reports methods one by one, a data set's published value is their mean, and the "
    "difference that of the same methods.",
    "An average over data sets hides its members, so they stand beside it.",
)


def tables_of(board: Board) -> Iterator[tuple[str, Table]]:
    """(file stem, table): the ranking, one of each data set, recall by generator, published."""
    if len(board.sheets) > 1:
        yield "ranking", ranking(board)
    for sheet in board.sheets:
        yield f"set-{_slug(sheet.dataset)}", sheet_table(sheet, board.published)
    for sheet in board.sheets:
        yield f"recall-{_slug(sheet.dataset)}", recall_table(sheet, board.false_alarms)
    if board.published:
        yield "published", published_table(board)


def ranking(board: Board) -> Table:
    """Mean AUC over data sets, the lowest, and every member. Detectors with a gap come last: their
    mean is over other data sets.
    """
    by_set = [{row.detector: row for row in sheet.rows} for sheet in board.sheets]
    names = dict.fromkeys(row.detector for sheet in board.sheets for row in sheet.rows)
    rows = []
    for name in names:
        found = [rows_of.get(name) for rows_of in by_set]
        values = [row.seeds.mean for row in found if row is not None]
        rows.append((len(values), name, sum(values) / len(values), min(values), found))
    rows.sort(key=lambda row: (-row[0], -row[2], row[1]))
    header = ("detector", "data sets", "mean AUC", "lowest", *(s.dataset for s in board.sheets))
    return Table(
        "All data sets",
        header,
        tuple(
            (name, count, mean, lowest, *(None if row is None else _auc(row) for row in found))
            for count, name, mean, lowest, found in rows
        ),
    )


def _auc(row: Row) -> Cell:
    return _over(row.seeds, row.auc)


def _over(seeds: Spread, one: Measure) -> Cell:
    """Mean and deviation over several seeds, else the one with its interval over videos."""
    return str(seeds) if seeds.runs > 1 else one


def sheet_table(sheet: Sheet, published: Sequence[Beside] = ()) -> Table:
    """One data set, best first; what papers report of it beside, where a protocol knows it."""
    heading, papers = _papers(sheet, published)
    several = any(row.seeds.runs > 1 for row in sheet.rows)
    paired = any(row.paired is not None for row in sheet.rows)
    header = [
        *("detector", "AUC"),
        *(("seeds",) if several else ()),
        *("ACC", "EER"),
        *((heading, "difference") if papers else ()),
        *("best minus it", "p", "p after Holm"),
        *(("over paired seeds",) if paired else ()),
        "verdict",
    ]
    rows = []
    for row in sheet.rows:
        seeds: tuple[Cell, ...] = (row.seeds.runs,) if several else ()
        measured = (_over(row.acc_seeds, row.acc), _over(row.eer_seeds, row.eer))
        beside: tuple[Cell, ...] = papers.get(row.detector, (None, "")) if papers else ()
        shared: tuple[Cell, ...] = (_measure(row.paired),) if paired else ()
        tests = (row.gap, _p(row.p), _p(row.adjusted))
        numbers = (_auc(row), *seeds, *measured, *beside, *tests, *shared)
        rows.append((row.detector, *numbers, row.verdict))
    return Table(_title(sheet), tuple(header), tuple(rows))


def _papers(sheet: Sheet, published: Sequence[Beside]) -> tuple[str, dict[str, tuple[float, str]]]:
    """Heading, and of each detector the published value of a data set and measured minus it: of all
    its videos where a paper says so, video level and AUC before others, else the mean over the
    methods that it reports.
    """
    mine = [one for one in published if one.cell.dataset == sheet.dataset]
    if not mine:
        return "", {}
    kinds = {one: (bool(one.cell.method), one.cell.level, one.cell.metric) for one in mine}
    kind = min(kinds.values(), key=lambda k: (k[0], k[1] != "video", k[2] != "auc"))
    _, level, metric = kind
    found = {}
    for row in sheet.rows:
        alike = [o for o in mine if o.detector == row.detector and kinds[o] == kind]
        if alike:
            value = sum(one.cell.value for one in alike) / len(alike)
            off = sum(one.measured - one.cell.value for one in alike) / len(alike)
            found[row.detector] = value, f"{off:+.3f}"
    return f"published {'' if level == 'video' else f'{level} '}{METRICS[metric].name}", found


def _measure(found: Spread | None) -> Measure | None:
    return None if found is None else Measure(found.mean, found.low, found.high)


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _title(sheet: Sheet) -> str:
    missing = f", {sheet.left_out} videos that not all have are left out" if sheet.left_out else ""
    return f"{sheet.dataset}: {sheet.real} real and {sheet.fake} fake videos{missing}"


def recall_table(sheet: Sheet, false_alarms: float) -> Table:
    """Share of each generator's fakes found while at most so many reals are accused."""
    methods = list(dict.fromkeys(name for row in sheet.rows for name in row.recall))
    header = ["detector", "alarms", *methods]
    if len(methods) > 1:
        header[2:2] = ["worst", "mean of generators"]
    rows = [_recall_row(row, methods) for row in sheet.rows]
    title = f"{sheet.dataset}: recall at {false_alarms:.1%} false alarms"
    return Table(title, tuple(header), tuple(rows))


def _recall_row(row: Row, methods: list[str]) -> tuple[Cell, ...]:
    alarms = f"{row.point.alarms} of {row.point.reals}"
    values = [row.recall_seeds[name].mean for name in methods if name in row.recall]
    joined = (min(values), sum(values) / len(values)) if len(methods) > 1 else ()
    cells = (
        _over(row.recall_seeds[name], row.recall[name]) if name in row.recall else None
        for name in methods
    )
    return (row.detector, alarms, *joined, *cells)


def published_table(board: Board) -> Table:
    """Every published cell that was measured, and the difference."""
    rows = []
    for one in board.published:
        off = one.measured - one.cell.value
        inside = "within" if abs(off) <= one.cell.tolerance else "outside"
        rows.append(
            (
                *(one.detector, one.cell.name, one.cell.value, f"[{one.cell.tag}]"),
                *(one.measured, f"{off:+.3f}", f"{inside} \u00b1 {one.cell.tolerance:g}"),
            )
        )
    header = ("detector", "what", "published", "source", "measured", "difference", "tolerance")
    return Table("Beside the published numbers", header, tuple(rows))


def write_board(board: Board, folder: Path, protocol_line: str = "") -> list[Path]:
    """board.html, board.json and every table as .md, .csv and .tex; returns the files.

    Raises DiskError when the file system refuses.
    """
    tables = list(tables_of(board))
    files = [folder / PAGE, folder / DOCUMENT]
    write_page(
        files[0],
        "board.html",
        title="Detectors side by side",
        subtitle=_subtitle(board),
        tables=[(f"t{place}", table) for place, (_, table) in enumerate(tables)],
        tiles=_tiles(board),
        cautions=caution_lines(board),
        notes=NOTES,
        protocol_line=protocol_line,
        sources=_sources(board),
    )
    text = json.dumps({"format": FORMAT, **asdict(board)}, indent=1, allow_nan=False) + "\n"
    write_whole(files[1], text.encode())
    for stem, table in tables:
        for suffix in ("md", "csv", "tex"):
            files.append(folder / f"{stem}.{suffix}")
            write_whole(files[-1], WRITERS[suffix](table).encode())
    return files


def caution_lines(board: Board) -> list[str]:
    """What the evaluations warned of: a line for each detector and warning, with its data sets."""
    found: dict[tuple[str, str], list[str]] = {}
    for detector, dataset, line in board.cautions:
        found.setdefault((detector, line), []).append(dataset)
    return [f"{name} on {', '.join(sets)}: {line}" for (name, line), sets in found.items()]


def _subtitle(board: Board) -> str:
    detectors = {row.detector for sheet in board.sheets for row in sheet.rows}
    return f"{len(detectors)} detectors, {len(board.sources)} scores files"


def _tiles(board: Board) -> list[tuple[str, str, str]]:
    """The best detector of each of the first data sets."""
    tiles = []
    for sheet in board.sheets[:4]:
        best = next((row for row in sheet.rows if row.verdict == "best"), None)
        if best is not None:
            rivals = sum(row.verdict == "not shown to differ" for row in sheet.rows)
            tiles.append(
                (
                    f"{best.seeds.mean:.3f}",
                    f"{best.detector} on {sheet.dataset}",
                    f"{rivals or 'none'} of the others not shown to be worse",
                )
            )
    return tiles


def _sources(board: Board) -> Table:
    header = ("detector", "seed", "data set", "file", "sha256")
    return Table("Scores files", header, tuple((*row[:4], row[4][:16]) for row in board.sources))


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split()) or "x"
