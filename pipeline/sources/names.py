"""Keys as dataset owners name them -> folder names that are safe on every file system and unique
in their dataset.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from unmask.pipeline.sources.listing import strip_extension

# Leaves room for `.tmp-<video_id>-<random>` and a track suffix below the 255 bytes of common file
# systems.
MAX_LENGTH = 120
DIGITS = 8

# Windows cannot create these, with or without an extension; a cache should survive being copied
# there.
RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}
)


def impossible_name(name: str) -> str:
    """Why no file can have this name or path, or ""."""
    if why := impossible_text(name):
        return why
    data = os.fsencode(name)
    # The longest path and the longest part of one that Linux and its file systems take.
    if len(data) >= 4096 or any(len(part) > 255 for part in data.split(b"/")):
        return "is too long for a file system"
    return ""


def impossible_text(text: str) -> str:
    """Why no list can mean this text, or ""."""
    if "\0" in text:
        return "holds a zero byte"
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    return ""


def video_ids(keys: Sequence[str]) -> list[str]:
    """One safe name [A-Za-z0-9._-] per key, in order; unique even where case or Unicode form is
    ignored.

    Keys whose plain slugs collide ALL get a digest of their bytes as suffix, so that the order of
    the keys does not matter.
    Raises: ValueError if two keys are equal (the adapter must not yield one video twice).
    """
    if len(set(keys)) != len(keys):
        twice = [key for key, count in Counter(keys).items() if count > 1]
        raise ValueError(f"{len(twice)} keys occur twice, e.g. {twice[0]!r}")
    names = [slug(key) for key in keys]
    digits = DIGITS
    while clashes := _clashing(names):
        names = [
            suffixed(key, digits) if name.casefold() in clashes else name
            for key, name in zip(keys, names, strict=True)
        ]
        digits *= 2
    return names


def slug(key: str) -> str:
    """The plain form of one key: separators and other characters become '-'; accents and media
    extension go.

    `Deepfakes/c23/000_003` -> `Deepfakes-c23-000_003`.  A name that is empty, too long or reserved
    gets the digest.
    """
    text = _plain(key)
    if not text or len(text) > MAX_LENGTH or text.split(".")[0].casefold() in RESERVED:
        return suffixed(key, DIGITS)
    return text


def suffixed(key: str, digits: int) -> str:
    """The slug cut to length with a digest of the key's original bytes behind it."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:digits]
    text = _plain(key)
    room = MAX_LENGTH - digits - 1
    return f"{text[:room].rstrip('-.') or 'video'}-{digest}".removeprefix("-")


def _plain(key: str) -> str:
    text = (
        unicodedata.normalize("NFKD", strip_extension(key))
        .encode("ascii", "ignore")
        .decode("ascii")
    )
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]", "-", text)).strip("-.")


def _clashing(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(name.casefold() for name in names).items() if count > 1}
