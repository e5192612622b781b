"""Stored features found again: by key or by themselves, of every video of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.digest import DIGEST, file_sha256
from unmask.pipeline.cache.feature_group import open_features
from unmask.pipeline.errors import CacheError, UsageError
from unmask.pipeline.features.settings import INDEX, FeatureSettings, read_index
from unmask.pipeline.records import Entry

AUTO = "auto"
SHOWN = 5


@dataclass(frozen=True)
class Stored:
    """The features of the videos of a manifest.

    settings: of the encoder they came from.
    features: (N, T, C) float16 of each entry, in order.
    """

    settings: FeatureSettings
    features: list[NDArray[np.float16]]


def find_key(store: Path, entries: Sequence[Entry], asked: str) -> str:
    """The feature key of entries that all have one cache key; "auto" takes the only one there is.

    Raises UsageError where there is none, are several, or the one asked for is not there.
    """
    parents = sorted({PurePosixPath(entry.folder).parent for entry in entries})
    keys = [{path.parent.name for path in (store / p).glob(f"*/{INDEX}")} for p in parents]
    common = sorted(set.intersection(*keys)) if keys else []
    if asked != AUTO and asked in common:
        return asked
    if asked == AUTO and len(common) == 1:
        return common[0]
    there = f"there are {', '.join(common[:SHOWN])}" if common else "there are none"
    wanted = "exactly one" if asked == AUTO else f"'{asked:.80}'"
    raise UsageError(
        f"{store}: expected {wanted} among the features of {', '.join(map(str, parents[:SHOWN]))}, "
        f"{there}; `features --manifest FILE` makes them"
    )


def read_features(store: Path, cache: Path, entries: Sequence[Entry], key: str) -> Stored:
    """The features of entries, every byte checked.

    Raises CacheError for features that are missing, damaged, of other settings, or of crops that
    are not those in the cache any more.
    """
    settings: FeatureSettings | None = None
    features = []
    checked: set[Path] = set()
    for entry in entries:
        path = PurePosixPath(entry.folder)
        parent = store / path.parent / key
        if parent not in checked:
            found, _ = read_index(parent)
            settings = settings or found
            checked.add(parent)
        folder = parent / path.name
        if not folder.is_dir():
            raise CacheError(f"{folder}: no features of this video; run `features` again")
        group = open_features(folder)
        if group.attributes.get("crops") != _crops(cache / entry.folder):
            raise CacheError(f"{folder}: features of other crops; run `features` again")
        features.append(group.read())
    if settings is None:
        raise CacheError("no entries, no features")
    if len({one.shape[2] for one in features}) > 1:
        raise CacheError(f"{key}: features of different widths; compute them again")
    return Stored(settings, features)


def _crops(folder: Path) -> str:
    """What identifies the crops of a cached video, as features note it."""
    try:
        return file_sha256(folder / DIGEST)
    except OSError as error:
        raise CacheError(f"{folder}: cannot be read ({error.strerror})") from error
