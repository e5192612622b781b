"""Put one small file on disk so that it is absent or whole, also after a killed process or a power
cut.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unmask.pipeline.errors import DiskError


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: temporary sibling, fsync, one rename, fsync of the folder.

    The temporary name starts with `.tmp-`, is created exclusively and flocked for as long as it
    lives, so that two writers never share one and cleaning up (commit.remove_stale) never takes a
    live one away.
    Raises: DiskError when the file system refuses (no space, no permission); the old file is then
    untouched.
    """
    with refusals(path, len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _own_sibling(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def refusals(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError of the block into a DiskError: what is free, what is needed (bytes), and
    what to do.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(f"{path}: not written ({_why(error, path.parent, needed)})") from error


def _why(error: OSError, folder: Path, needed: int) -> str:
    reason = error.strerror or str(error)
    place = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        free = f"{shutil.disk_usage(place).free / 2**20:,.1f} MiB free"
    except OSError:
        free = "free space unknown"
    sizes = f"{needed / 2**20:,.1f} MiB needed, {free}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{reason}: {sizes}; free some space or raise the quota, then run again to go on"
    if error.errno == errno.EXDEV:
        return f"{reason}: the folder changes file system inside; choose another place; {sizes}"
    return f"{reason}: {sizes}; make the folder writable or choose another place"


def begin_sync(file: BinaryIO) -> None:
    """Let the system write out a file in the background, so that the fsync to come waits less (5 ms
    for a video).

    Raises: OSError when what is left in the buffer cannot be written; the rest is a hint that may
    fail.
    """
    file.flush()
    with contextlib.suppress(
        OSError, AttributeError
    ):  # not every system, nor every file system, takes it
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _own_sibling(path: Path) -> tuple[Path, int]:
    """A new temporary file beside `path` and the descriptor that holds its flock."""
    while True:
        temporary = path.with_name(f".tmp-{path.name[:100]}-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if flock_alone(descriptor) and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # somebody cleaned up between the two calls


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


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` durable; a rename alone is only in memory."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
