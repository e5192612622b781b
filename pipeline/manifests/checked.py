"""'folder label' text files: written whole, read strictly.

One line per video: `<dataset>/<key>/<video_id> 0|1`, the folder relative to the cache root, split
at the LAST space because folders may hold spaces. Blank lines and lines that start with # are
skipped; BOM and CRLF are accepted. A folder that is not in the cache may be a folder of pictures
beside the manifest, as the Xception-LSTM authors have it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.cache.index import settings_of_key
from unmask.pipeline.cache.video import GROUP_FILE
from unmask.pipeline.config import CropConfig
from unmask.pipeline.errors import ManifestError, listing
from unmask.pipeline.manifests.text import parse, refuse_manifest
from unmask.pipeline.records import Entry

MAX_FILE = 100 * 1024 * 1024
PICTURES_KEY = "pictures"
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read and checked.

    entries and folders: one each per video, in the file's order; folders are absolute.
    sha256: of the file's bytes.
    key: the cache key of all entries, or `pictures`.
    missing: entries without a folder (only when allowed).
    warnings: lines worth showing once.
    left_out: entries of another label than the wanted one.
    """

    path: Path
    entries: tuple[Entry, ...]
    folders: tuple[Path, ...]
    sha256: str
    key: str
    missing: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def labels(self) -> frozenset[int]:
        """Labels that occur; training and AUC need both."""
        return frozenset(entry.label for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def read_manifest(
    path: Path, cache_root: Path, *, allow_missing: bool = False, only: int | None = None
) -> Manifest:
    """Read and check a manifest against the cache before anything is trained with it.

    Exact duplicates are dropped with a warning. Folders must lie inside the cache root (or the
    manifest's folder, for pictures) after links are resolved.
    allow_missing: leave absent folders out and count them instead of refusing.
    only: leave the entries of the other label out and count them; their folders are not looked at.
    Raises: ManifestError listing bad lines, conflicting labels, absent folders; mixed cache keys;
        an empty manifest.
    """
    data = _read(path)
    entries, warnings = _without_duplicates(parse(data, str(path)), str(path))
    if not entries:
        raise ManifestError(f"{path}: no entries; lines are '<folder> <label>'")
    wanted = [entry for entry in entries if only in (None, entry.label)]
    if not wanted:
        raise ManifestError(f"{path}: none of its {len(entries)} entries has label {only}")
    left_out, entries = len(entries) - len(wanted), wanted
    found, folders, kinds, missing = _locate(entries, path, Path(cache_root), allow_missing)
    if missing:
        warnings.append(
            f"{path}: {len(missing)} of {len(entries)} folders are missing and left out"
        )
    key = _one_key(found, folders, kinds, path)
    return Manifest(
        path,
        tuple(found),
        tuple(folders),
        hashlib.sha256(data).hexdigest(),
        key,
        tuple(missing),
        tuple(warnings),
        left_out,
    )


def _read(path: Path) -> bytes:
    """The file's bytes, after looking at what kind of file it is: a FIFO or a device would
    block.
    """
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
    refuse_manifest(bad, name)
    return list(kept.values()), [
        f"{name}: {twice} lines are there twice; each is used once"
    ] if twice else []


def _locate(
    entries: list[Entry], path: Path, cache_root: Path, allow_missing: bool
) -> tuple[list[Entry], list[Path], list[bool], list[Entry]]:
    """Absolute folder of each entry and whether it is cached; cache first, then the manifest's own
    folder.
    """
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
    refuse_manifest(bad, str(path))
    if missing and (not allow_missing or not found):
        lines = [f"{path}:{entry.line}: no crops in {entry.folder!r}" for entry in missing]
        head = f"{path}: {len(missing)} of {len(entries)} folders are not under {cache_root}"
        raise ManifestError(listing(lines, f"{head}; run extract again, or use --allow-missing"))
    return found, folders, cached, missing


class _Root:
    """One folder below which entries may lie; remembers which parents were checked for links that
    lead out of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.real = os.path.realpath(folder)
        self.inside: dict[str, bool] = {}

    def find(self, relative: str) -> Path | None:
        """The folder with crops or pictures, or None; ManifestError when a link leads out of the
        root.
        """
        folder = self.folder / relative
        if not (folder / GROUP_FILE).is_file() and not has_pictures(folder):
            return None
        if not self._is_inside(folder.parent) or (
            folder.is_symlink() and not self._is_inside(folder)
        ):
            raise ManifestError(
                f"folder {relative!r} leads outside {str(self.folder)!r} (path_outside_cache)"
            )
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
    settings = [
        {} if key == PICTURES_KEY else settings_of_key(folders[first[key]].parent)
        for key in keys[:2]
    ]
    differing = ", ".join(
        f"{name:.60} {one!r:.80} and {other!r:.80}"
        for name, (one, other) in CropConfig.differing(*settings).items()
    )
    raise ManifestError(
        f"{path}: entries of {len(keys)} different extractions ({', '.join(keys[:4])}) must not "
        "be mixed"
        f"{': they differ in ' + differing if differing else ''}; e.g. line "
        f"{entries[first[keys[1]]].line}"
    )
