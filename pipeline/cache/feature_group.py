"""One video's features as a committed, digested Zarr v3 group of its own, beside the caches of
crops and never inside one of their folders.

    <store>/<dataset>/<crop key>/<feature key>/<video_id>/
        zarr.json                group; its attributes say what the features were made of
        features/zarr.json       array (N, T, C) float16, chunk = first axis
        features/c.0.0.0         its one shard file
        digest.json              sha256 and size of every file above, written last

The array knows nothing of faces: N clips of T frames, or N windows of whole frames with T = 1. What
it is made of stands in its attributes. Written, checked and read as a cached video (video.py); the
bytes are stored plain, because float16 features hardly shrink.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.attributes import checked_attributes
from unmask.pipeline.cache.digest import Facts, problems_of, read_checked, read_digest, write_digest
from unmask.pipeline.cache.shard_reader import Shard
from unmask.pipeline.cache.video import is_committed, open_shard
from unmask.pipeline.cache.writing import SAFE_ID, plain_values, write_array
from unmask.pipeline.cache.zarr_layout import GROUP, shard_name
from unmask.pipeline.disk.folders import commit_folder
from unmask.pipeline.errors import CacheError

NAME, CODEC = "features", "none"
LISTED = {GROUP, f"{NAME}/{GROUP}", shard_name(NAME)}


class FeatureGroup:
    """One committed group, its metadata checked; the features are checked as they are read.

    folder: where it lies.
    shape: (N, T, C).
    """

    def __init__(self, folder: Path, shard: Shard, group: Facts) -> None:
        self.folder, self._shard, self._group = folder, shard, group
        self.shape = shard.shape

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """What write_features was given, read from the checked zarr.json."""
        found = read_checked(self.folder, GROUP, self._group)["attributes"]
        return checked_attributes(found, self.folder, CacheError)

    def read(self) -> NDArray[np.float16]:
        """(N, T, C). Raises CacheError where the bytes are not those that were written."""
        features = self._shard.empty(self.shape[0])
        for row, out in enumerate(features):
            self._shard.read(row, out)
        return features


def write_features(
    parent: Path,
    video_id: str,
    features: NDArray[np.float16],
    attributes: dict[str, Any],
    replace: bool = False,
) -> Path:
    """Commit one video's features as `parent/video_id`, and return that folder.

    features: (N, T, C), all finite.
    attributes: JSON values, numpy arrays and numbers.
    replace: swap with the group that stands there.
    Raises CacheError (not writable, no space, a damaged folder in the way), ValueError (shape, a
    number that is not finite).
    """
    if not SAFE_ID.fullmatch(video_id):
        raise ValueError(f"video id {video_id!r} is not a slug of [A-Za-z0-9._-]")
    if features.ndim != 3 or features.dtype != np.float16 or not features.size:
        raise ValueError(f"features: expected (N, T, C) float16, got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features: not all are finite numbers of float16")
    document = dict(sorted(plain_values(attributes, "attributes").items()))
    target = parent / video_id

    def fill(folder: Path) -> None:
        group = {"attributes": document, "zarr_format": 3, "node_type": "group"}
        (folder / GROUP).write_text(json.dumps(group, indent=2))
        write_array(folder, NAME, features, CODEC)
        write_digest(folder)

    if not commit_folder(target, fill, features.nbytes, replace) and not is_committed(target):
        raise CacheError(f"{target}: a damaged folder is in the way; `verify --repair` mends it")
    return target


def open_features(folder: Path) -> FeatureGroup:
    """Open a committed group after checking its metadata and sizes. Raises CacheError."""
    files = read_digest(folder)
    if set(files) != LISTED:
        raise CacheError(
            f"{folder}: holds {', '.join(sorted(files))!r:.300}, which are no features of unmask"
        )
    group = read_checked(folder, GROUP, files[GROUP])
    kind = {key: value for key, value in group.items() if key != "attributes"}
    if kind != {"node_type": "group", "zarr_format": 3}:
        raise CacheError(f"{folder}: {GROUP} is not a group as unmask writes it")
    return FeatureGroup(folder, open_shard(folder, NAME, files), files[GROUP])


def verify_features(folder: Path) -> list[str]:
    """Every problem of a group, in words; empty when all its bytes are as they were written."""
    problems = problems_of(folder)
    if not problems:
        try:
            open_features(folder).read()
        except CacheError as error:
            problems.append(str(error))
    return problems
