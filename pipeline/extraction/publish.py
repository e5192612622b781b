"""Write manifests and the account of every video once an extraction has ended."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from unmask.pipeline.cache import refused
from unmask.pipeline.cache.video import is_committed, open_video
from unmask.pipeline.config import PIXEL_LIBRARIES, ExtractConfig
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction.copies import splits_of
from unmask.pipeline.extraction.masks import MASK_ELSEWHERE
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.extraction.resume import group_names
from unmask.pipeline.extraction.run import cache_folder
from unmask.pipeline.manifests import outcomes
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import SPLITS, Entry, Outcome, Video
from unmask.pipeline.sources.dataset import Dataset


def publish(
    dataset: Dataset, ended: Sequence[Outcome], config: ExtractConfig, cache: Path, manifests: Path
) -> dict[Path, int]:
    """Write manifests, outcomes.jsonl and extract.json per compression, and return each manifest
    with its length.

    Lists every committed video of the dataset, not only those of this call, so that `--shard` runs
    and interrupted runs end with the same files as one uninterrupted run. Equal files under several
    names stay in one derived split. A fake whose mask lies on
    nobody who was found is left out of train (is_listed). Layout:
    <manifests>/<dataset>/<compression>/<split>.txt.
    """
    parent = cache_folder(cache, dataset.name, config.crop)
    known = {outcome.video_id: outcome for outcome in ended}
    written: dict[Path, int] = {}
    for compression in sorted({video.compression for video in dataset.videos}):
        videos = [video for video in dataset.videos if video.compression == compression]
        folder = manifests / dataset.name / compression
        if folder.exists():
            remove_stale(folder)
        rows = [known.get(v.video_id) or _present(v, parent) for v in videos]
        splits = splits_of(videos, rows, parent)
        for split in (*SPLITS, "none"):
            entries = [
                Entry(f"{dataset.name}/{parent.name}/{track}", video.label)
                for video, outcome in zip(videos, rows, strict=True)
                if splits[video.video_id] == split
                and outcome is not None
                and is_listed(outcome, split)
                for track in group_names(parent, video.video_id)
            ]
            if entries:
                path = folder / f"{split if split != 'none' else 'all'}.txt"
                write_manifest(path, entries)
                written[path] = len(entries)
        lacking = [v for v in dataset.missing if v.compression == compression]
        rows += [
            Outcome(v.video_id, "failed", "missing", "an official list names it") for v in lacking
        ]
        listed = [
            outcomes.Listed(
                outcome, video.label, video.method, splits.get(video.video_id, video.split)
            )
            for video, outcome in zip([*videos, *lacking], rows, strict=True)
            if outcome is not None
        ]
        outcomes.write_outcomes(folder / "outcomes.jsonl", listed)
        about = describe_run(config, dataset)
        write_whole(
            folder / "extract.json", json.dumps(about, indent=1, sort_keys=True).encode() + b"\n"
        )
    return written


def is_listed(outcome: Outcome, split: str) -> bool:
    """Whether a video stands in the manifest of its split: its crops are there, and a training
    learns nothing wrong from them.
    """
    untouched = split == "train" and MASK_ELSEWHERE in outcome.flags
    return outcome.status == "ok" and not untouched


def describe_run(config: ExtractConfig, dataset: Dataset) -> dict[str, object]:
    """Settings and versions of one extraction, for extract.json beside the manifests; no times, no
    machine names.
    """
    reference = reference_of(config.crop)
    libraries = {
        name: version(name) for name in (*PIXEL_LIBRARIES, "zarr", "numpy", "joblib", "unmask")
    }
    return {
        "dataset": dataset.name,
        "cache_key": config.crop.cache_key(reference),
        "settings": config.crop.settings(reference),
        "limits": asdict(config.limits),
        "versions": {"python": platform.python_version(), **libraries},
        "notes": list(dataset.notes),
    }


def _present(video: Video, parent: Path) -> Outcome | None:
    """How a video of another shard, or of an earlier run, ended; None when nobody has worked on it
    yet.
    """
    folder = parent / video.video_id
    refusal = refused.recall(parent, video.video_id)
    if refusal is not None or not is_committed(folder):
        return refusal
    outcome = open_video(folder).attributes.get("outcome")
    return record_of(Outcome, outcome, f"{folder}: outcome", CacheError)
