"""'folder label' text files: written whole, read strictly.

One line per video: `<dataset>/<key>/<video_id> 0|1`, the folder relative to the cache root, split at the LAST space
because folders may hold spaces. Blank lines and lines that start with # are skipped; BOM and CRLF are accepted. A
folder that is not in the cache may be a folder of pictures beside the manifest, as the Xception-LSTM authors have it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.atomic import write_whole
from pipeline.errors import ManifestError
from pipeline.records import FAKE, REAL, Entry

MAX_LINE = 4096
MAX_FILE = 100 * 1024 * 1024
MAX_METADATA = 16 * 1024 * 1024
SHOWN = 20

GROUP_FILE = "zarr.json"
PICTURES_KEY = "pictures"
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read and checked.

    entries and folders: one each per video, in the file's order; folders are absolute.   sha256: of the file's bytes.
    key: the cache key of all entries, or `pictures`.   missing: entries without a folder (only when allowed).
    warnings: lines worth showing once.
    """

    path: Path
    entries: tuple[Entry, ...]
    folders: tuple[Path, ...]
    sha256: str
    key: str
    missing: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> frozenset[int]:
        """Labels that occur; training and AUC need both."""
        return frozenset(entry.label for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def write_manifest(path: Path, entries: Iterable[Entry]) -> str:
    """Write the lines in the given order, atomically, and return the sha256 of the file.

    Raises: ManifestError for a folder that could not be read back (absolute, with `..`, control characters).
    """
    data = render(entries, str(path))
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def render(entries: Iterable[Entry], name: str = "manifest") -> bytes:
    """The bytes of a manifest; `parse` gives the same folders and labels back."""
    lines, bad = [], []
    for place, entry in enumerate(entries, 1):
        why = _bad_folder(entry.folder) or _bad_label(entry.label)
        if not why and str(PurePosixPath(entry.folder)) != entry.folder:
            why = f"folder {entry.folder!r} is not in its plain form {str(PurePosixPath(entry.folder))!r}"
        line = f"{entry.folder} {entry.label}"
        if not why and len(line.encode()) > MAX_LINE:
            why = f"line of more than {MAX_LINE} bytes"
        (bad if why else lines).append(f"entry {place}: {why}" if why else f"{line}\n")
    _refuse(bad, name)
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
    _refuse(bad, name)
    return tuple(entries)


def read_manifest(path: Path, cache_root: Path, *, allow_missing: bool = False) -> Manifest:
    """Read and check a manifest against the cache before anything is trained with it.

    Exact duplicates are dropped with a warning. Folders must lie inside the cache root (or the manifest's folder, for
    pictures) after links are resolved.   allow_missing: leave absent folders out and count them instead of refusing.
    Raises: ManifestError listing bad lines, conflicting labels, absent folders; mixed cache keys; an empty manifest.
    """
    data = _read(path)
    entries, warnings = _without_duplicates(parse(data, str(path)), str(path))
    if not entries:
        raise ManifestError(f"{path}: no entries; lines are '<folder> <label>'")
    found, folders, kinds, missing = _locate(entries, path, Path(cache_root), allow_missing)
    if missing:
        warnings.append(f"{path}: {len(missing)} of {len(entries)} folders are missing and left out")
    key = _one_key(found, folders, kinds, path)
    return Manifest(
        path, tuple(found), tuple(folders), hashlib.sha256(data).hexdigest(), key, tuple(missing), tuple(warnings)
    )


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


def _refuse(bad: list[str], name: str) -> None:
    if bad:
        more = f"\n  ... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise ManifestError(f"{name}: {len(bad)} bad lines\n  " + "\n  ".join(bad[:SHOWN]) + more)


def _read(path: Path) -> bytes:
    """The file's bytes, after looking at what kind of file it is: a FIFO or a device would block."""
    try:
        if not path.is_file():
            raise ManifestError(f"{path}: no such manifest; extract writes them")
        if (size := path.stat().st_size) > MAX_FILE:
            raise ManifestError(f"{path}: {size} bytes, at most {MAX_FILE} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error


def _without_duplicates(entries: Iterable[Entry], name: str) -> tuple[list[Entry], list[str]]:
    kept: dict[str, Entry] = {}
    bad, twice = [], 0
    for entry in entries:
        first = kept.setdefault(entry.folder, entry)
        if first.label != entry.label:
            both = f"label {entry.label} here, {first.label} in line {first.line}"
            bad.append(f"{name}:{entry.line}: {entry.folder!r} has {both}")
        elif first is not entry:
            twice += 1
    _refuse(bad, name)
    return list(kept.values()), [f"{name}: {twice} lines are there twice; each is used once"] if twice else []


def _locate(
    entries: list[Entry], path: Path, cache_root: Path, allow_missing: bool
) -> tuple[list[Entry], list[Path], list[bool], list[Entry]]:
    """Absolute folder of each entry and whether it is cached; cache first, then the manifest's own folder."""
    roots = [_Root(cache_root), _Root(path.parent)]
    found, folders, cached, missing, bad = [], [], [], [], []
    for entry in entries:
        folder = None
        try:
            folder = next((f for root in roots if (f := root.find(entry.folder))), None)
        except ManifestError as error:
            bad.append(f"{path}:{entry.line}: {error}")
            continue
        if folder is None:
            missing.append(entry)
            continue
        found.append(entry)
        folders.append(folder)
        cached.append((folder / GROUP_FILE).is_file())
    _refuse(bad, str(path))
    if missing and (not allow_missing or not found):
        lines = [f"{path}:{entry.line}: no crops in {entry.folder!r}" for entry in missing]
        head = f"{path}: {len(missing)} of {len(entries)} folders are not under {cache_root}"
        lines = "\n  ".join(lines[:SHOWN]) + (f"\n  ... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
        raise ManifestError(f"{head}; run extract again, or use --allow-missing\n  {lines}")
    return found, folders, cached, missing


class _Root:
    """One folder below which entries may lie; remembers which parents were checked for links that lead out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.real = os.path.realpath(folder)
        self.inside: dict[str, bool] = {}

    def find(self, relative: str) -> Path | None:
        """The folder with crops or pictures, or None; ManifestError when a link leads out of the root."""
        folder = self.folder / relative
        if not (folder / GROUP_FILE).is_file() and not has_pictures(folder):
            return None
        if not self._is_inside(folder.parent) or (folder.is_symlink() and not self._is_inside(folder)):
            raise ManifestError(f"folder {relative!r} leads outside {str(self.folder)!r} (path_outside_cache)")
        return folder

    def _is_inside(self, path: Path) -> bool:
        name = os.fspath(path)
        if name not in self.inside:
            real = os.path.realpath(path)
            self.inside[name] = real == self.real or real.startswith(self.real.rstrip("/") + "/")
        return self.inside[name]


def has_pictures(folder: Path) -> bool:
    """Whether at least one PNG or JPEG lies directly in the folder."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.lower().endswith(PICTURES) for entry in entries)
    except (OSError, ValueError):
        return False


def cache_key_of(folder: str) -> str:
    """Second part of `<dataset>/<key>/<video_id>`."""
    parts = folder.split("/")
    return parts[1] if len(parts) == 3 else ""


def _one_key(entries: list[Entry], folders: list[Path], cached: list[bool], path: Path) -> str:
    """The key all entries share; ManifestError that names the differing settings otherwise."""
    first: dict[str, int] = {}
    for place, entry in enumerate(entries):
        first.setdefault(cache_key_of(entry.folder) if cached[place] else PICTURES_KEY, place)
    if len(first) == 1:
        return next(iter(first))
    keys = list(first)
    a, b = (settings_of(folders[first[key]]) for key in keys[:2])
    differing = ", ".join(
        f"{name} {a.get(name)!r} and {b.get(name)!r}" for name in sorted({*a, *b}) if a.get(name) != b.get(name)
    )
    raise ManifestError(
        f"{path}: entries of {len(keys)} different extractions ({', '.join(keys[:4])}) must not be mixed"
        f"{': they differ in ' + differing if differing else ''}; e.g. line {entries[first[keys[1]]].line}"
    )


def attributes_of(folder: Path) -> dict[str, object]:
    """What a cached video's group says of it (label, method, group, settings ...); {} for a folder of pictures.

    Raises: ManifestError if the group's metadata is not readable JSON.
    """
    path = folder / GROUP_FILE
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_METADATA:
            raise ValueError(f"more than {MAX_METADATA} bytes")
        attributes = json.loads(path.read_bytes()).get("attributes", {})
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ManifestError(f"{path}: not the metadata of a cached video: {error}") from error
    return attributes if isinstance(attributes, dict) else {}


def settings_of(folder: Path) -> dict[str, object]:
    """The extraction settings a cached video was made with, where its attributes name them."""
    settings = attributes_of(folder).get("settings", {})
    return settings if isinstance(settings, dict) else {}
