"""The one scheme of temporary names, and the one cleaner of what killed writers left under them.

Whoever writes holds the flock of its temporary for as long as it lives, so that cleaning up never
takes a living one away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from pathlib import Path

# The pattern of all temporary names, those of older versions (eight digits, or none) included.
TEMPORARY = re.compile(r"\.tmp-.+-\d+(-[0-9a-f]{8}|-[0-9a-f]{16})?", re.DOTALL)

# Bytes of the target's name in a temporary one; file systems take 255.
NAME_BYTES = 100


def temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody can guess, of the one pattern that cleaning up knows."""
    return path.with_name(f"{_start(path)}{os.getpid()}-{secrets.token_hex(8)}")


def remove_dead_siblings(path: Path) -> None:
    """Delete the temporaries that killed writers of `path` left beside it."""
    start = _start(path)
    try:
        names = [name for name in os.listdir(path.parent) if name.startswith(start)]
    except OSError:
        return
    for name in names:
        if TEMPORARY.fullmatch(name):
            remove_dead(os.path.join(path.parent, name))


def remove_stale(parent: Path) -> list[str]:
    """Delete what dead writers left in `parent` and return the names.

    Only names of our own pattern; what a living writer holds (its flock) and links are left alone.
    """
    with os.scandir(parent) as entries:
        found = sorted(entry.name for entry in entries if TEMPORARY.fullmatch(entry.name))
    return [name for name in found if remove_dead(os.path.join(parent, name))]


def remove_dead(path: str) -> bool:
    """Delete a temporary file or folder unless a living writer holds it, and say whether; links,
    FIFOs and devices are left alone.
    """
    folder = os.path.isdir(path)
    if os.path.islink(path) or not (folder or os.path.isfile(path)):
        return False
    try:
        # network file systems give a lock of a file only to those who may write it
        flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags | (os.O_DIRECTORY if folder else os.O_WRONLY))
    except OSError:  # gone meanwhile, or another user's
        return False
    try:
        if not flock_alone(descriptor):
            return False
        if folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def flock_alone(descriptor: int) -> bool:
    """Whether nobody else holds it, and it is held now; file systems without flock count as
    nobody.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF):
            raise
    return True


def _start(path: Path) -> str:
    name = os.fsencode(path.name)[:NAME_BYTES].decode("utf-8", "ignore") or "file"
    return f".tmp-{name}-"
