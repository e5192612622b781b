"""The text of a manifest: lines `folder label`, written atomically and parsed strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.errors import ManifestError, listing
from unmask.pipeline.records import FAKE, REAL, Entry

MAX_LINE = 4096


def write_manifest(path: Path, entries: Iterable[Entry]) -> str:
    """Write the lines in the given order, atomically, and return the sha256 of the file.

    Raises: ManifestError for a folder that could not be read back (absolute, with `..`, control
    characters).
    """
    data = render(entries, str(path))
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def render(entries: Iterable[Entry], name: str = "manifest") -> bytes:
    """The bytes of a manifest; `parse` gives the same folders and labels back."""
    lines: list[str] = []
    bad: list[str] = []
    for place, entry in enumerate(entries, 1):
        why = _bad_folder(entry.folder) or _bad_label(entry.label)
        if not why and str(PurePosixPath(entry.folder)) != entry.folder:
            why = (
                f"folder {entry.folder!r} is not in its plain form "
                f"{str(PurePosixPath(entry.folder))!r}"
            )
        line = f"{entry.folder} {entry.label}"
        if not why and len(line.encode()) > MAX_LINE:
            why = f"line of more than {MAX_LINE} bytes"
        (bad if why else lines).append(f"entry {place}: {why}" if why else f"{line}\n")
    refuse_manifest(bad, name)
    return "".join(lines).encode()


def parse(data: bytes, name: str = "manifest") -> tuple[Entry, ...]:
    """Entries of a manifest's bytes; nothing on the disk is looked at.

    Raises: ManifestError that lists every bad line (the first 20) as name:line.
    """
    entries, bad = [], []
    for number, line in _lines(data):
        result = _parse_line(line, number)
        if isinstance(result, Entry):
            entries.append(result)
        elif result:
            bad.append(f"{name}:{number}: {result}")
    refuse_manifest(bad, name)
    return tuple(entries)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    data = data.removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(data.split(b"\n"), 1):
        yield number, line.removesuffix(b"\r")


def _parse_line(line: bytes, number: int) -> Entry | str:
    """The entry of one line, "" for nothing to read, or what is wrong with it."""
    if len(line) > MAX_LINE:
        return f"line of {len(line)} bytes, at most {MAX_LINE} are allowed"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text"
    if not text.strip(" \t") or text.startswith("#"):
        return ""
    folder, space, label = text.rpartition(" ")
    if not label:
        return "space at the end of the line; lines are '<folder> <label>'"
    if not space or not folder.strip():
        return f"{text!r} is not '<folder> <label>' separated by a space"
    if label not in ("0", "1"):
        return f"label {label!r} is not 0 (real) or 1 (fake); lines are '<folder> <label>'"
    why = _bad_folder(folder)
    return why or Entry(str(PurePosixPath(folder)), int(label), number)


def _bad_folder(folder: str) -> str:
    """Why a folder may not stand in a manifest, or ""."""
    if any(ord(c) < 32 or ord(c) == 127 for c in folder):
        return f"folder {folder!r} holds a tab or another control character"
    if "\ufeff" in folder:
        return f"folder {folder!r} holds a byte order mark; were two files joined?"
    if any(0xD800 <= ord(c) < 0xE000 for c in folder):
        return f"folder {folder!r} is not UTF-8 text"
    if folder != folder.strip() or folder.startswith("#"):
        return f"folder {folder!r} starts with # or has spaces around it"
    if "\\" in folder:
        return f"folder {folder!r}: write folders with forward slashes"
    parts = PurePosixPath(folder).parts
    if not parts:
        return "empty folder"
    if folder.startswith("/") or ".." in parts or parts[0].startswith("~"):
        return f"folder {folder!r} leads outside the cache root (path_outside_cache)"
    return ""


def _bad_label(label: int) -> str:
    return "" if label in (REAL, FAKE) else f"label {label!r} is not 0 (real) or 1 (fake)"


def refuse_manifest(bad: list[str], name: str) -> None:
    """Raise ManifestError that lists the bad lines, where there are any."""
    if bad:
        raise ManifestError(listing(bad, f"{name}: {len(bad)} bad lines"))
