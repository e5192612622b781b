"""Who may read what is new: crops of faces, and networks trained on them, are their owner's alone
until the owner says otherwise.

A cache or a folder of runs that unmask makes is 0700, and everything new takes over the permissions
of the folder it lies in, so that `chmod -R g+rX` shares what is there and what will come. A folder
that the user made keeps the permissions the user gave it, and the umask holds as everywhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def private_folder(path: Path) -> None:
    """Make a folder and its parents where they lack; new ones only their owner may enter (0700).

    Raises: OSError.
    """
    if not path.is_dir():
        private_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        os.scandir(path).close()  # a file in the way


def like_parent(path: Path) -> None:
    """Make a folder and its parents where they lack, with the permissions of what they lie in.

    Raises: OSError.
    """
    if not path.is_dir():
        like_parent(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=inherited_mode(path.parent))
        os.scandir(path).close()


def inherited_mode(folder: Path) -> int:
    """Permissions for a folder that is new in `folder`, and with 0o666 for a file: those of the
    folder itself, but never that everybody may write.
    """
    return stat.S_IMODE(os.stat(folder).st_mode) & 0o775


def opened_like_parent(path: str, flags: int) -> int:
    """An opener for `open`: a new file gets the permissions of its folder."""
    return os.open(path, flags, inherited_mode(Path(path).parent) & 0o666)


def tighten(descriptor: int, mode: int) -> None:
    """Take from an open file or folder the permissions that `mode` has not."""
    found = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if (wanted := found & (mode | 0o7000)) != found:  # setgid and sticky stay
        os.fchmod(descriptor, wanted)
