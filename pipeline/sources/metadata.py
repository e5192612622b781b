"""Metadata files of dataset owners, read with one clear error each: JSON, CSV, JSON lines,
lists.
"""

from __future__ import annotations

import codecs
import csv
import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unmask.pipeline.errors import UsageError

# Some tables hold a row per video of a million; above this it is no metadata file.
MAX_BYTES = 8 * 1024**3

TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file whose outermost value is a `kind` (dict or list).

    Raises: UsageError.
    """
    try:
        content = json.loads(_text(path), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{str(path)!r} is not readable JSON: {error}") from error
    if not isinstance(content, kind):
        raise UsageError(
            f"{str(path)!r} holds a JSON {type(content).__name__}, a {kind.__name__} was expected"
        )
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError when a name stands in it twice, of which the parser would keep the
    last.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {reprlib.repr(twice)} stands twice in one object")
    return content


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each row of a CSV or TSV file with a header; an unnamed column is
    called "".

    Raises: UsageError for an empty or unreadable file.
    """
    lines = _text(path).splitlines()
    if not lines:
        raise UsageError(f"{str(path)!r} is empty, a header line was expected")
    reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        header = [name.strip() for name in next(reader)]
        for row in reader:
            if any(row):
                yield (
                    reader.line_num,
                    dict(zip(header, (field.strip() for field in row), strict=False)),
                )
    except csv.Error as error:
        raise UsageError(f"{str(path)!r}, line {reader.line_num}: {error}") from error


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank.

    Raises: UsageError.
    """
    return [
        (number, line.strip())
        for number, line in enumerate(_text(path).splitlines(), 1)
        if line.strip()
    ]


def truth_of(value: object) -> bool | None:
    """Yes or no as JSON, pandas and people write it; None for anything else, which is no answer."""
    if isinstance(value, bool | int | float):
        return {0: False, 1: True}.get(value)
    return TRUTH.get(value.strip().casefold()) if isinstance(value, str) else None


def find_file(names: tuple[str, ...], *folders: Path) -> Path | None:
    """The first of `names` in the first of `folders` that has one."""
    return next(
        (folder / name for folder in folders for name in names if (folder / name).is_file()), None
    )


def _text(path: Path) -> str:
    """The file's text: UTF-8, or UTF-16 where its first bytes say so (as Excel saves "Unicode")."""
    try:
        if not path.is_file():
            raise UsageError(f"{str(path)!r} is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"{str(path)!r} is larger than {MAX_BYTES} bytes, too large for a list of videos"
            )
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a zero byte in the name
        raise UsageError(f"{str(path)!r} is not a file name: {error}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise UsageError(f"{str(path)!r} is not readable UTF-16: {error}") from error
    return data.decode("utf-8-sig", errors="surrogateescape")
