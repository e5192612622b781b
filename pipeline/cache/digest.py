"""digest.json of a committed folder: sha256 and size of every file in it, and of itself; written
last, read first.

A folder without a sound digest is not committed. Small files are compared with it whenever they are
read, big ones by size, and by sha256 when a whole folder is verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unmask.pipeline.disk.files import json_object, parse_json, read_bounded
from unmask.pipeline.errors import CacheError

DIGEST = "digest.json"
FORMAT = 1
MAX_METADATA_BYTES = 2**24
SHA256 = re.compile(r"[0-9a-f]{64}")

Facts = dict[str, Any]  # of one file: {"sha256": hex, "size": bytes}


def write_digest(folder: Path, known: Mapping[str, Facts] | None = None) -> None:
    """Describe every file of `folder`; call it when nothing more will be written there.

    known: facts of files that were described before.
    """
    described = known or {}
    files = {
        name: described.get(name)
        or {"sha256": file_sha256(folder / name), "size": (folder / name).stat().st_size}
        for name in sorted(files_below(folder))
    }
    (folder / DIGEST).write_bytes(_rendered(files))


def read_digest(folder: Path) -> dict[str, Facts]:
    """Relative name -> facts of every file. Raises CacheError when the folder or its digest is
    absent or damaged.
    """
    path = folder / DIGEST
    data = read_small(path)
    document = parse_object(data, path)
    files = document.get("files")
    if document.get("format") != FORMAT:
        raise CacheError(
            f"{path}: format {document.get('format')!r:.40}, this unmask reads {FORMAT}; extract "
            "again"
        )
    if not isinstance(files, dict) or not all(_sound(name, facts) for name, facts in files.items()):
        raise CacheError(
            f"{path}: damaged: not a list of files; `verify --repair` makes the video again"
        )
    if data != _rendered(files):
        raise CacheError(
            f"{path}: damaged: its own checksum does not match; `verify --repair` makes the "
            "video again"
        )
    return files


def read_checked(folder: Path, name: str, facts: Facts) -> Facts:
    """The JSON object in a small file whose bytes are those of the digest. Raises CacheError."""
    data = read_small(folder / name)
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise CacheError(
            f"{folder}: {name} is damaged: sha256 differs from {DIGEST}; `verify --repair` makes "
            "it again"
        )
    return parse_object(data, folder / name)


def check_size(folder: Path, name: str, facts: Facts) -> None:
    """Raises CacheError unless the file is there, a regular file, and of its size."""
    try:
        found = os.lstat(folder / name)
    except OSError as error:
        raise CacheError(f"{folder}: {name} is missing or unreadable ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise CacheError(f"{folder}: {name} is not a regular file")
    if found.st_size != facts["size"]:
        raise CacheError(
            f"{folder}: {name} has {found.st_size} bytes, {DIGEST} says {facts['size']}"
        )


def problems_of(folder: Path) -> list[str]:
    """Every difference between a folder and its digest, in words; all bytes are read."""
    try:
        files = read_digest(folder)
    except CacheError as error:
        return [str(error)]
    problems = []
    for name, facts in files.items():
        try:
            check_size(folder, name, facts)
            if file_sha256(folder / name) != facts["sha256"]:
                problems.append(f"{folder}: {name} is damaged: sha256 differs from {DIGEST}")
        except CacheError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{folder}: {name} cannot be read ({error.strerror})")
    extra = sorted(set(files_below(folder)) - {*files, DIGEST})
    return problems + [f"{folder}: {name!r} is not listed in {DIGEST}" for name in extra]


def files_below(folder: Path) -> Iterator[str]:
    """Relative names of everything in a folder that is not a folder."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(place, name), folder)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_small(path: Path) -> bytes:
    """Bytes of a metadata file. Raises CacheError when it is absent, no regular file, or too large
    to be one.
    """
    return read_bounded(path, MAX_METADATA_BYTES, CacheError, follow=False)


def parse_object(data: bytes, path: Path) -> Facts:
    """Strict JSON object of finite numbers. Raises CacheError."""
    return json_object(parse_json(data, path, CacheError), path, CacheError)


def canonical(document: Any) -> str:
    """One spelling per value: sorted keys, ASCII (surrogate-escaped path bytes survive), no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _rendered(files: dict[str, Facts]) -> bytes:
    own = hashlib.sha256(canonical([FORMAT, files]).encode()).hexdigest()
    document = {"files": files, "format": FORMAT, "sha256": own}
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def _sound(name: str, facts: Any) -> bool:
    return (
        not os.path.isabs(name)
        and ".." not in name.split("/")
        and "\0" not in name
        and isinstance(facts, dict)
        and facts.keys() == {"sha256", "size"}
        and type(facts["size"]) is int
        and isinstance(facts["sha256"], str)
        and SHA256.fullmatch(facts["sha256"]) is not None
    )
