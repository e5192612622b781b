"""A table of your own (dataset `csv`): CSV, TSV or JSON lines with the columns path and label, and
optional ones.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path

from unmask.pipeline.errors import UsageError, listing
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, nearest
from unmask.pipeline.sources.listing import natural, strip_extension
from unmask.pipeline.sources.metadata import read_lines, read_rows, truth_of
from unmask.pipeline.sources.names import impossible_name

COLUMNS = (
    "path",
    "label",
    "key",
    "split",
    "method",
    "group",
    "compression",
    "target",
    "source",
    "pair",
    "mask",
    "video_fake",
    "audio_fake",
    "fake_spans",
)
LABELS = {"0": REAL, "1": FAKE, "real": REAL, "fake": FAKE}
SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
# How pandas heads the index that it writes, and what it calls it when it reads it again.
NO_NAME = re.compile(r"|Unnamed: \d+")
SUFFIXES = (".csv", ".tsv", ".jsonl")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every row of the table; `root` is the table itself or the folder that holds exactly one.

    Raises: UsageError that lists every bad row (the first 20) with its line, or an unknown column.
    """
    path = _table(root)
    finds = Finds(options.name or "csv", path.parent, options)
    bad: list[str] = []
    lines: dict[str, int] = {}
    for number, row in _rows(path, finds):
        try:
            video = _record(finds, row)
        except ValueError as error:
            bad.append(f"{path.name}:{number}: {str(error)[:300]}")
            continue
        if lines.setdefault(video.key, number) != number:
            bad.append(
                f"{path.name}:{number}: {video.key!r} stands in line {lines[video.key]} already"
            )
        else:
            finds.add(video, present=video.path.exists() or video.path.is_symlink())
    if bad:
        raise UsageError(listing(bad, f"{path}: {len(bad)} bad rows"))
    videos = finds.videos + finds.missing
    without = sum(v.split == "none" and v.split_origin == "official" for v in videos)
    if without:
        finds.problems.append(f"{without} rows have no split while others have one; they get none")
    return finds.dataset()


def _table(root: Path) -> Path:
    if root.is_file():
        return root
    tables = sorted(
        (p for p in root.iterdir() if p.suffix.lower() in SUFFIXES), key=lambda p: natural(p.name)
    )
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(repr(p.name) for p in tables) or "none"
    raise UsageError(
        f"csv: expected one table ({', '.join(SUFFIXES)}) in {str(root)!r}, found {found}; name "
        "it: --root FILE"
    )


def _rows(path: Path, finds: Finds) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as text fields; whether the table has splits at all is put into the column `_splits`."""
    rows = list(_json_rows(path) if path.suffix.lower() == ".jsonl" else read_rows(path))
    if not rows:
        raise UsageError(f"csv: no rows in {str(path)!r}")
    for column in rows[0][1]:
        if NO_NAME.fullmatch(column):
            finds.notes.append(f"{path.name}: a column without a name (an index) is passed over")
        elif column not in COLUMNS:
            try:
                nearest(column, COLUMNS, "column")
            except UsageError as error:
                raise UsageError(f"csv: {str(path)!r}: {error}") from error
    for column in ("path", "label"):
        if column not in rows[0][1]:
            raise UsageError(
                f"csv: {str(path)!r} has no column {column!r}; columns are {', '.join(COLUMNS)}"
            )
    has_splits = any(row.get("split") for _, row in rows)
    for number, row in rows:
        yield number, {**row, "_splits": "yes" if has_splits else ""}


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
            fields = {name: _text(value) for name, value in row.items()}
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path.name}:{number}: not a JSON object: {error}") from error
        yield number, fields


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ";".join(
            "-".join(map(str, item)) if isinstance(item, list) else str(item) for item in value
        )
    return str(value)


def _record(finds: Finds, row: dict[str, str]) -> Video:
    """The record of one row.

    Raises: ValueError with what is wrong with it.
    """
    if not row.get("path"):
        raise ValueError("no path")
    if row.get("label", "").lower() not in LABELS:
        raise ValueError(f"label {row.get('label')!r} is not 0, 1, real or fake")
    split = row.get("split", "").lower()
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r} is not train, val or test")
    for column in ("path", "key", "mask"):
        if why := impossible_name(row.get(column, "")):
            raise ValueError(f"{column} {reprlib.repr(row[column])} {why}")
    places = {column: _slashes(finds.root, row.get(column, "")) for column in ("path", "mask")}
    label = LABELS[row["label"].lower()]
    honoured = bool(row["_splits"]) and finds.options.split_ratio is None
    key = row.get("key") or places["path"]
    return Video(
        dataset=finds.name,
        key=key,
        video_id="",
        path=finds.root / places["path"],
        label=label,
        method=row.get("method") or ("fake" if label == FAKE else "real"),
        compression=row.get("compression") or "none",
        split=SPLITS.get(split, "none") if honoured else "none",
        split_origin="official" if honoured else "derived",
        target=row.get("target") or None,
        source=row.get("source") or None,
        pair=row.get("pair") or None,
        group=row.get("group") or row.get("pair") or strip_extension(key),
        mask=finds.root / places["mask"] if places["mask"] else None,
        video_fake=_truth(row, "video_fake"),
        audio_fake=_truth(row, "audio_fake"),
        fake_spans=_spans(row.get("fake_spans", "")),
    )


def _slashes(root: Path, text: str) -> str:
    """A path as Windows writes it, unless a file is called just so."""
    return text.replace("\\", "/") if "\\" in text and not (root / text).exists() else text


def _truth(row: dict[str, str], column: str) -> bool | None:
    word = row.get(column, "")
    if word and truth_of(word) is None:
        raise ValueError(f"{column} {word!r} is not 0 or 1")
    return truth_of(word)


def _spans(text: str) -> tuple[tuple[float, float], ...]:
    """`0.5-1.25;3-4` -> ((0.5, 1.25), (3.0, 4.0))."""
    spans = []
    for part in filter(None, text.split(";")):
        start, dash, end = part.partition("-")
        if not dash or not 0 <= float(start) < float(end) < math.inf:
            raise ValueError(f"fake_spans {part!r} is not <start>-<end> in seconds")
        spans.append((float(start), float(end)))
    return tuple(spans)


SOURCE = Source(
    name="csv",
    title="A table of your own",
    kind="videos or picture folders",
    size="any",
    access="yours",
    licence="yours",
    tasks="detection",
    tree=f"""\
--root TABLE.csv (or .tsv, .jsonl), or the folder that holds one.
Columns: path and label (0, 1, real, fake);
optional: {", ".join(COLUMNS[2:])}.
path and mask are relative to the table's folder; fake_spans is `0.5-1.25;3-4` in seconds.""",
    labels="the column label",
    splits="the column split; without it 70/15/15 by the column group (else pair, else each "
    "video alone)",
    discover=discover,
    aliases=("table", "tsv", "jsonl"),
)
