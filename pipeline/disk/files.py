"""One small file on disk: written so that it is absent or whole, also after a killed process or a
power cut, and read so that a damaged or forged one is a refusal that names it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from unmask.pipeline.disk.permissions import inherited_mode, like_parent
from unmask.pipeline.disk.temporaries import flock_alone, remove_dead_siblings, temporary_name
from unmask.pipeline.errors import DiskError, PipelineError

# Deeper than any record of ours (metrics.json is the deepest, 7), far below where recursion ends.
MAX_DEPTH = 32


def write_whole(path: Path, data: bytes, durable: bool = True, *, tidy: bool = True) -> None:
    """Replace `path` by `data`, or leave it untouched (see replacing).

    durable: False leaves the fsyncs out, for what may be lost or empty after a power cut.
    tidy: remove what killed writers of `path` left; not in a folder of thousands, which is cleaned
        as a whole.
    Raises: DiskError when the file system refuses (no space, no permission).
    """
    with refusals(path, len(data)):
        like_parent(path.parent)
        with (
            _new_content(path, durable, tidy) as (_, descriptor),
            os.fdopen(descriptor, "wb", closefd=False) as file,
        ):
            file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty temporary file beside `path` to write into; at the end of the block it takes the
    place of `path` by one rename, on the disk with all its bytes. After an exception it is gone,
    and `path` is as it was.

    Its name cannot be guessed, it is created exclusively (no link is followed) and flocked for as
    long as it lives: two writers never share one, and cleaning up never takes a living one away.
    What killed writers of `path` left is removed. It has the permissions of its folder.
    Raises: OSError.
    """
    with _new_content(path, durable=True, tidy=True) as (temporary, _):
        yield temporary


@contextlib.contextmanager
def _new_content(path: Path, durable: bool, tidy: bool) -> Iterator[tuple[Path, int]]:
    """The temporary file of `replacing` and the descriptor that holds it."""
    if tidy:
        remove_dead_siblings(path)
    temporary, descriptor = _own_sibling(path)
    try:
        yield temporary, descriptor
        if durable:
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    if durable:
        sync_folder(path.parent)


def try_writing(folder: Path) -> None:
    """Make a file in a folder and take it away again. Raises: OSError where that cannot be."""
    temporary, descriptor = _own_sibling(folder / "trial")
    os.close(descriptor)
    temporary.unlink(missing_ok=True)


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
    sizes = f"{needed / 2**20:,.1f} MiB needed, {free}" if needed else free
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{reason}: {sizes}; free some space or raise the quota, then run again to go on"
    if error.errno == errno.EXDEV:
        return f"{reason}: the folder changes file system inside; choose another place; {sizes}"
    return f"{reason}: {sizes}; make the folder writable or choose another place"


def read_bounded(
    path: Path, most: int, error: type[PipelineError], *, follow: bool = True
) -> bytes:
    """The bytes of a regular file of at most `most` bytes; a FIFO or a device is never waited for.

    follow: whether `path` itself may be a link.
    Raises: `error`, naming the file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{path}: not a regular file")
            if found.st_size > most:
                raise error(f"{path}: larger than {most} bytes, which unmask never writes")
            return file.read(found.st_size)
    except OSError as refusal:
        raise error(f"{path}: not there or unreadable ({refusal.strerror})") from refusal
    except ValueError as refusal:  # a zero byte in the name
        raise error(f"{path!r}: not a file name ({refusal})") from refusal


def parse_json(data: bytes | str, where: object, error: type[PipelineError]) -> Any:
    """The value of one JSON text: finite numbers, integers of at most 64 bits, nested at most
    MAX_DEPTH deep.

    where: what the refusal names, a path or a path with a line.
    Raises: `error`.
    """
    try:
        value = json.loads(
            data, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
        )
    except (ValueError, RecursionError) as damage:
        raise error(f"{where}: damaged: not JSON as unmask writes it ({damage})") from damage
    if not _shallow(value):
        raise error(f"{where}: damaged: nested more than {MAX_DEPTH} deep")
    return value


def read_json(path: Path, most: int, error: type[PipelineError]) -> dict[str, Any]:
    """The JSON object in one of our own small files, of at most `most` bytes.

    Raises: `error` naming the file: absent, no regular file, too large, not JSON, too deep, no
        object.
    """
    return json_object(parse_json(read_bounded(path, most, error), path, error), path, error)


def json_object(value: Any, where: object, error: type[PipelineError]) -> dict[str, Any]:
    """`value` where it is a JSON object. Raises: `error`."""
    if not isinstance(value, dict):
        raise error(f"{where}: damaged: {type(value).__name__} where a JSON object belongs")
    return value


def json_lines(
    path: Path, most: int, error: type[PipelineError], *, growing: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of every line of one of our own .jsonl files, each of at most
    `most` bytes; an absent file has none.

    growing: the last line may be half written, by a process that works on it or was killed; it is
        then left out.
    Raises: `error` naming file and line.
    """
    if not os.path.lexists(path):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise error(f"{path}: not a regular file")
            number = 0
            while line := file.readline(most + 1):
                number += 1
                if growing and not line.endswith(b"\n") and len(line) <= most:
                    return
                if len(line) > most:
                    raise error(f"{path}:{number}: longer than {most} bytes")
                where = f"{path}:{number}"
                yield number, json_object(parse_json(line, where, error), where, error)
    except OSError as refusal:
        raise error(f"{path}: cannot be read ({refusal.strerror})") from refusal


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is not a finite number")
    return number


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise ValueError(f"{text:.40} does not fit 64 bits")
    return number


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False


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
    mode = inherited_mode(path.parent) & 0o666
    while True:
        temporary = temporary_name(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode)
        if flock_alone(descriptor) and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # somebody cleaned up between the two calls


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` durable; a rename alone is only in memory."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
