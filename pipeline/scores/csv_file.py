"""Scores as a CSV file: written safely for spreadsheets, read strictly with the row of every
problem.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.errors import ScoresError, listing
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.table import ABSENT, COLUMNS, TEXTS, Scores, scores_table

# What Excel and LibreOffice take for the start of a formula, and tab and newlines, which they skip
# before looking.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
SPECIAL = re.compile('[,"\r\n]|^ | $')
MAX_BYTES = 500_000_000
# Lines whose columns are read at once.
CHUNK = 100_000


def protect(text: str) -> str:
    """The cell as a spreadsheet may see it: an apostrophe before what it would run, and before
    what looks marked.
    """
    marked = text[:1] == "'" and text[1:2] in (*FORMULA, "'") and len(text) > 1
    return f"'{text}" if text.startswith(FORMULA) or marked else text


def unprotect(text: str) -> str:
    """The inverse of protect."""
    return text[1:] if text[:1] == "'" and len(text) > 1 and text[1] in (*FORMULA, "'") else text


def encode(scores: Scores) -> bytes:
    """The file's bytes: header, one line per row, the same bytes for the same rows."""
    columns = []
    names = [name for name in COLUMNS if name != "row_label" or (scores.row_label != ABSENT).any()]
    for name in names:
        values = getattr(scores, name).tolist()
        if name in TEXTS:
            columns.append([_quoted(protect(value)) for value in values])
        elif name in ("logit", "score"):
            columns.append([repr(value) for value in values])
        else:
            columns.append(["" if value == ABSENT else str(value) for value in values])
    lines = [",".join(names), *map(",".join, zip(*columns, strict=True)), ""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _quoted(text: str) -> str:
    # csv.writer leaves a lone carriage return bare when lines end with \n, and its own reader then
    # splits the line.
    return '"' + text.replace('"', '""') + '"' if SPECIAL.search(text) else text


def write_scores(path: Path, scores: Scores) -> str:
    """Write the file in one rename; returns its sha256."""
    data = encode(scores)
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def read_scores(path: Path) -> tuple[Scores, str]:
    """The rows and the sha256 of a scores file of any author.

    Rows of a video without clip and frame are its clips in the order of the file.
    Raises ScoresError naming file and line of every bad line (the first 20), also for one video
    with two labels and for a clip given twice.
    """
    data = _bytes(path)
    text = data.decode("utf-8-sig", "surrogateescape")
    quick = _by_columns(text)
    if quick is not None:
        return quick, hashlib.sha256(data).hexdigest()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = _Rows(path)
    try:
        header = next(reader, None)
        rows.begin(header)
        for cells in reader:
            if cells:
                rows.add(cells, reader.line_num)
    except csv.Error as error:
        raise ScoresError(f"{path}:{reader.line_num}: not a CSV line: {error}") from error
    return rows.finish(), hashlib.sha256(data).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ScoresError(f"{path}: {size:,} bytes; a scores file may have {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise ScoresError(f"{path}: cannot read the scores file: {error.strerror}") from error


def _by_columns(text: str) -> Scores | None:
    """The whole file a column at a time; None where anything is odd, so that a line must be named.

    Accepts a subset of what the reading by lines accepts, and gives the same rows.
    """
    if '"' in text or "\r" in text:
        return None
    lines = list(filter(None, text.split("\n")))
    header = [cell.strip().lower() for cell in lines[0].split(",")] if lines else []
    names = [name for name in header if name in COLUMNS]
    if not {"video_id", "label"} <= set(names) or not {"score", "logit"} & set(names):
        return None
    if text[:1] == "\n" or _named_twice(header) or len(lines) < 2:
        return None
    parts: dict[str, list[NDArray]] = {name: [] for name in names}
    for start in range(1, len(lines), CHUNK):
        chunk = lines[start : start + CHUNK]
        if {line.count(",") for line in chunk} != {len(header) - 1}:
            return None
        cells = ",".join(chunk).split(",")
        if max(map(len, cells)) >= csv.field_size_limit():
            return None
        try:
            for name, done in parts.items():
                done.append(_column(name, cells[header.index(name) :: len(header)]))
        except ValueError:
            return None
    scores = scores_table(**{name: np.concatenate(done) for name, done in parts.items()})
    return scores if _consistent(scores, bool({"clip", "frame"} & set(names))) else None


def _named_twice(header: Sequence[str]) -> bool:
    named = [name for name in header if name]
    return len(set(named)) < len(named)


def _column(name: str, cells: Sequence[str]) -> NDArray:
    """One column (R,) of plain cells. Raises ValueError where a cell is not one."""
    if name in TEXTS:
        if name == "video_id" and not all(cells):
            raise ValueError
        plain = (
            [unprotect(c) if c[:1] == "'" else c for c in cells] if "'" in "".join(cells) else cells
        )
        return np.array(plain, dtype=object)
    if name in ("logit", "score"):
        values = np.array(list(map(float, cells)), dtype=np.float64)
        outside = name == "score" and bool(((values < 0) | (values > 1)).any())
        if outside or not "".join(cells).isascii() or not np.isfinite(values).all():
            raise ValueError
        return values
    known = {cell: _cell(name, cell) for cell in set(cells)}
    return np.array([known[cell] for cell in cells], dtype=np.int64)


def _consistent(scores: Scores, numbered: bool) -> bool:
    """Whether every video has one label, no real one a fake row, and no clip comes twice."""
    rows = np.bincount(scores.video)
    fakes = np.bincount(scores.video, weights=scores.label)
    if ((fakes > 0) & (fakes < rows)).any():
        return False
    if ((scores.row_label == FAKE) & (scores.label == REAL)).any():
        return False
    if not numbered:
        return True
    keys = np.stack([scores.video, scores.track, scores.clip, scores.frame])
    ordered = keys[:, np.lexsort(keys)]
    return not (ordered[:, 1:] == ordered[:, :-1]).all(axis=0).any()


class _Rows:
    """Collects checked lines and what is wrong with the others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.lines: list[int] = []
        self.values: dict[str, list] = {}
        self.columns: list[str] = []

    def begin(self, header: list[str] | None) -> None:
        self.columns = [cell.strip().lower() for cell in header or []]
        if not self.columns:
            raise ScoresError(
                f"{self.path}: empty; the first line names the columns, e.g. video_id,label,score"
            )
        doubled = {name for name in self.columns if name and self.columns.count(name) > 1}
        if doubled:
            told = ", ".join(sorted(doubled))
            raise ScoresError(f"{self.path}:1: column named twice: {told:.300}")
        missing = [name for name in ("video_id", "label") if name not in self.columns]
        if "score" not in self.columns and "logit" not in self.columns:
            missing.append("score (or logit)")
        if missing:
            shown = ", ".join(f"{column!r:.60}" for column in self.columns[:12])
            raise ScoresError(
                f"{self.path}:1: no column {', '.join(missing)}; the first line names {shown}"
            )
        self.values = {name: [] for name in self.columns if name in COLUMNS}

    def add(self, cells: list[str], line: int) -> None:
        if len(cells) != len(self.columns):
            return self._bad(line, f"{len(cells)} cells where the header has {len(self.columns)}")
        row = {
            name: cell for name, cell in zip(self.columns, cells, strict=True) if name in COLUMNS
        }
        try:
            parsed = {name: _cell(name, cell) for name, cell in row.items()}
        except ValueError as error:
            return self._bad(line, str(error))
        for name, value in parsed.items():
            self.values[name].append(value)
        self.lines.append(line)
        return None

    def finish(self) -> Scores:
        if not self.problems and not self.lines:
            raise ScoresError(f"{self.path}: a header and no scores")
        self._raise()
        scores = scores_table(**self.values)
        self._check_videos(scores)
        self._raise()
        return scores

    def _check_videos(self, scores: Scores) -> None:
        labels: dict[int, tuple[int, int]] = {}
        seen: dict[tuple, int] = {}
        numbered = "clip" in self.values or "frame" in self.values
        keys = zip(
            scores.video.tolist(),
            scores.track.tolist(),
            scores.clip.tolist(),
            scores.frame.tolist(),
            strict=True,
        )
        rows = zip(keys, scores.label.tolist(), scores.row_label.tolist(), self.lines, strict=True)
        for key, label, own, line in rows:
            first, where = labels.setdefault(key[0], (label, line))
            if own == FAKE and label == REAL:
                self._bad(line, "row_label 1 (fake) in a video whose label is 0 (real)")
            elif first != label:
                self._bad(
                    line, f"label {label}, but line {where} gives the same video label {first}"
                )
            elif numbered and seen.setdefault(key, line) != line:
                self._bad(line, f"the same clip of the same video as line {seen[key]}")

    def _bad(self, line: int, why: str) -> None:
        self.problems.append(f"{self.path}:{line}: {why}")

    def _raise(self) -> None:
        if self.problems:
            head = f"{self.path}: {len(self.problems)} bad lines"
            raise ScoresError(listing(self.problems, head))


def _cell(name: str, cell: str) -> object:
    """One parsed cell. Raises ValueError with what was expected."""
    if name in TEXTS:
        if name == "video_id" and not cell:
            raise ValueError("no video_id")
        return unprotect(cell)
    text = cell.strip()
    if name == "label" or (name == "row_label" and text):
        if text not in ("0", "1"):
            raise ValueError(f"{name} {_shown(cell)} is not {REAL} (real) or {FAKE} (fake)")
        return int(text)
    if name in ("logit", "score"):
        return _number(name, text)
    if not text:
        return ABSENT
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueError(f"{name} {_shown(cell)} is not a whole number from 0")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} {_shown(text)} is not a finite number")
    if name == "score" and not 0 <= value <= 1:
        raise ValueError(
            f"score {_shown(text)} is not a probability from 0 to 1; name the column logit if it "
            "is one"
        )
    return value


def _shown(cell: str) -> str:
    return ascii(cell[:40])
