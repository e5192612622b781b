"""Every video of a manifest through a frozen encoder once; what is done is skipped.

On disk a video's features are absent or whole, and each video is computed by itself, so that a run
that was stopped and started again ends in the bytes of one that was not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.cache.digest import DIGEST, file_sha256
from unmask.pipeline.cache.feature_group import open_features, write_features
from unmask.pipeline.cache.refused import plain_outcome
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.clips.batches import batch_of
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.disk.files import json_lines, refusals, try_writing, write_whole
from unmask.pipeline.disk.folders import restore_replaced
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.disk.locks import lock_cache
from unmask.pipeline.disk.permissions import like_parent, private_folder
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import CacheError, UsageError
from unmask.pipeline.features.frozen import Frozen
from unmask.pipeline.features.settings import write_index
from unmask.pipeline.records import Entry, Outcome

log = logging.getLogger(__name__)

OUTCOMES = "outcomes.jsonl"
MAX_LINE = 2**20
LIBRARIES = ("torch", "timm")
# Clips at once: never another number, because sums over other shapes round otherwise.
TOGETHER = 8


@dataclass(frozen=True)
class Call:
    """One call of features.

    cache: root of the crops.
    store: root of the features.
    device: cpu or cuda.
    """

    cache: Path
    store: Path
    device: str = "cpu"


class _NotFiniteError(Exception):
    """Features that float16 does not hold."""


def compute(
    entries: Sequence[Entry],
    frozen: Frozen,
    call: Call,
    progress: Callable[[Outcome], None] = lambda outcome: None,
    again: Collection[str] = (),
) -> list[Outcome]:
    """Bring the features of every entry into the store, and return how each video ended, in the
    order given.

    entries: of the cache key that frozen.settings names.
    progress: called once per video.
    again: folders of entries to compute even where their features seem whole.
    Raises DiskError when the file system refuses, CacheError when another run holds the folder.
    """
    by_dataset: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        parts = PurePosixPath(entry.folder).parts
        if len(parts) != 3 or parts[1] != frozen.settings.crops:
            raise UsageError(f"{entry.folder} is not <dataset>/{frozen.settings.crops}/<video>")
        by_dataset[parts[0]].append(entry)
    frozen.model.to(call.device).eval()
    ended: dict[str, Outcome] = {}
    for dataset, own in by_dataset.items():
        parent = call.store / dataset / frozen.settings.crops / frozen.settings.key
        with _held(call.store, parent):
            write_index(parent, frozen.settings, [Path(entry.folder).name for entry in own])
            outcomes = outcomes_before(parent)
            for entry in own:
                found = _one(entry, frozen, call, parent, again)
                ended[entry.folder] = outcomes[found.video_id] = found
                progress(found)
            _write_outcomes(parent, outcomes)
    return [ended[entry.folder] for entry in entries]


@contextlib.contextmanager
def _held(store: Path, parent: Path) -> Iterator[None]:
    """The folder of one dataset's features, made, proved writable, under its lock, and without what
    a killed run left.
    """
    with refusals(parent):
        private_folder(store)
        like_parent(parent)
        try_writing(parent)
    with lock_cache(parent):
        restore_replaced(parent)
        remove_stale(parent)
        yield


def _one(entry: Entry, frozen: Frozen, call: Call, parent: Path, again: Collection[str]) -> Outcome:
    """How one video ends: standing, computed, or refused with the reason."""
    folder = call.cache / entry.folder
    name = folder.name
    try:
        crops = file_sha256(folder / DIGEST)
        if entry.folder not in again and (shape := _standing(parent / name, crops)):
            return _ok(name, shape)
        video = open_video(folder)
        features = _features(video, frozen, call)
    except (CacheError, OSError) as error:
        return Outcome(name, "failed", "damaged_crops", str(error))
    except _NotFiniteError as error:
        return Outcome(name, "failed", "not_finite", str(error))
    _write(parent, name, features, video, crops, frozen)
    return _ok(name, features.shape)


def _standing(folder: Path, crops: str) -> tuple[int, ...] | None:
    """Shape of the features of these very crops that stand there, else None."""
    try:
        group = open_features(folder)
        return group.shape if group.attributes.get("crops") == crops else None
    except CacheError:  # absent or damaged: computed again
        return None


def _ok(name: str, shape: Sequence[int]) -> Outcome:
    return Outcome(name, "ok", clips=shape[0], frames_read=shape[0] * shape[1])


@torch.inference_mode()
def _features(video: CachedVideo, frozen: Frozen, call: Call) -> NDArray[np.float16]:
    """(N, T, C) of a video's crops, a part of its clips at a time, so that they do not depend on
    other videos. Raises CacheError, _NotFiniteError.
    """
    clips, frames = video.shape[:2]
    spec = replace(frozen.model.spec, mode="consecutive", frames=frames)
    found = []
    for start in range(0, clips, TOGETHER):
        part = range(start, min(start + TOGETHER, clips))
        picks = [tuple((clip, frame) for frame in range(frames)) for clip in part]
        pixels = np.ascontiguousarray(video.read_crops(part))
        ready = prepare(batch_of(pixels, picks), spec, call.device)
        found.append(frozen.model.frame_features(ready.pixels).half().cpu().numpy())
    features = np.concatenate(found)
    if not np.isfinite(features).all():
        raise _NotFiniteError(f"{video.folder}: numbers beyond what float16 holds")
    return features


def _write(
    parent: Path,
    name: str,
    features: NDArray[np.float16],
    video: CachedVideo,
    crops: str,
    frozen: Frozen,
) -> None:
    standing = os.path.lexists(parent / name)
    attributes = {
        "dataset": video.attributes.get("dataset"),
        "video_id": name,
        "crops": crops,
        "settings": asdict(frozen.settings),
        "libraries": {one: version(one) for one in LIBRARIES},
    }
    write_features(parent, name, features, attributes, replace=standing)


def outcomes_before(parent: Path) -> dict[str, Outcome]:
    """How videos of other manifests ended; nothing where the list is absent or damaged."""
    try:
        rows = [
            record_of(Outcome, row, f"{parent / OUTCOMES}:{number}", CacheError)
            for number, row in json_lines(parent / OUTCOMES, MAX_LINE, CacheError)
        ]
    except CacheError as error:
        log.warning("%s", error)
        return {}
    return {row.video_id: row for row in rows}


def _write_outcomes(parent: Path, outcomes: dict[str, Outcome]) -> None:
    """One line a video, sorted, without a clock: equal runs write equal bytes."""
    rows = [plain_outcome(outcomes[name]) for name in sorted(outcomes)]
    data = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()
    path = parent / OUTCOMES
    if not path.is_file() or hashlib.sha256(data).hexdigest() != file_sha256(path):
        write_whole(path, data)
