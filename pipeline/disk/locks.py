"""Who may write into a folder: one lock per cache folder, and short turns at one small shared
file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from unmask.pipeline.disk.files import refusals
from unmask.pipeline.disk.permissions import opened_like_parent
from unmask.pipeline.errors import CacheError

LOCK_FILE = ".lock"
POLL_SECONDS = 0.1


@contextlib.contextmanager
def lock_cache(parent: Path, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of one cache folder; the kernel gives it back when the process dies, however it
    dies.

    shared: together with other shared holders.
    wait: seconds to wait for another holder, math.inf for ever.
    Raises: CacheError naming the holder (pid, host, since), or saying why the folder cannot be
        locked.
    """
    path = parent / LOCK_FILE
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = opened_like_parent(str(path), flags)
    except OSError as error:
        raise CacheError(
            f"{path}: cannot be locked ({error.strerror}); choose another --cache"
        ) from error
    try:
        _acquire(descriptor, path, shared, wait)
        if not shared:
            with refusals(path):
                _write_holder(descriptor)
        try:
            yield
        finally:
            if not shared:
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """For the blink of reading, merging and writing one small file that runs share; waits for
    whoever is at it.

    Where the file system cannot lock, it goes on without: that is what --no-lock asked for.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, shared: bool, wait: float) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(
                descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
            )
        except BlockingIOError:
            if time.monotonic() >= until:
                raise CacheError(
                    f"{path.parent}: another run is writing here ({_holder(descriptor)}); wait "
                    "for it, or stop it"
                ) from None
        except OSError as error:
            raise CacheError(
                f"{path}: this file system cannot lock ({error.strerror}); use --no-lock"
            ) from error
        time.sleep(POLL_SECONDS)


def _write_holder(descriptor: int) -> None:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since}, sort_keys=True)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode() + b"\n", 0)


def _holder(descriptor: int) -> str:
    for _ in range(5):  # who has just locked it has not written its name yet
        try:
            held = json.loads(os.pread(descriptor, 4096, 0))
            return f"pid {int(held['pid'])} on {held['host']!r} since {held['since']!r}"
        except (ValueError, KeyError, TypeError, RecursionError):
            time.sleep(POLL_SECONDS / 2)
    return "a shared holder"
