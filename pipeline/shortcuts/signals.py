"""The signals of an audit: one row a video, in families; never a path or a name, which hold the
label by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.index import read_index
from unmask.pipeline.cache.video import attributes_of, open_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.facts import Facts, facts_of
from unmask.pipeline.decode.frame_facts import frame_facts_of
from unmask.pipeline.errors import CacheError, VideoError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.sources.dataset import Dataset

# Shown to the page: what each family is.
FAMILIES = {
    "container": "container and its tags",
    "encoder": "encoder and its settings",
    "rate": "bit rate, quantiser, packets, key frames, file size",
    "sound": "sound",
    "time": "frame rate, length",
    "size": "picture size",
    "crop": "where and how large the face is, how it was cut",
    "background": "pixels of the crop outside the face",
    "frame": "rim and corners of the frame: logos, block grid, earlier compression",
}
# The outer part of a crop, in which no face lies, as a share of its side.
RING = 0.1


@dataclass(frozen=True)
class Signals:
    """rows: of each video, family -> name -> number, word or None. label, group: (R,).

    video_id, method: for a scores file. unread: files that could not be asked, with the reason.
    """

    rows: tuple[Facts, ...]
    label: NDArray[np.int64]
    group: tuple[str, ...]
    video_id: tuple[str, ...]
    method: tuple[str, ...]
    dataset: str
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def of_dataset(
    dataset: Dataset,
    limits: Limits,
    most: int = 0,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Signals:
    """Of files alone. most: videos of each class, chosen by leakage group; 0 for all."""
    chosen = _chosen(
        [v.label for v in dataset.videos], [v.group for v in dataset.videos], most, seed
    )
    rows, kept, unread = [], [], []
    for place in chosen:
        video = dataset.videos[place]
        try:
            info, seen = frame_facts_of(video.path, limits)
            media = {
                "fps": info.fps,
                "frames": info.frames,
                "width": info.width,
                "height": info.height,
                "flags": info.flags,
                "rotation": info.rotation,
            }
            rows.append(_joined(facts_of(video.path, limits), seen, _media(media)))
            kept.append(video)
        except VideoError as error:
            unread.append(f"{video.key}: {error.reason}")
        progress()
    return Signals(
        rows=tuple(rows),
        label=np.array([v.label for v in kept], dtype=np.int64),
        group=tuple(v.group or v.key for v in kept),
        video_id=tuple(v.video_id for v in kept),
        method=tuple(v.method for v in kept),
        dataset=dataset.name,
        unread=tuple(unread),
    )


def of_manifest(
    manifest: Manifest,
    limits: Limits,
    most: int = 0,
    seed: int = 0,
    files: bool = True,
    frames: bool = True,
    progress: Callable[[], None] = lambda: None,
) -> Signals:
    """Of the cache, and of the files where they still lie where they were extracted from.

    frames: decode some of each file, which costs about a second of 1920x1080.
    Raises CacheError for a damaged group.
    """
    attributes = [attributes_of(folder) for folder in manifest.folders]
    labels = [entry.label for entry in manifest.entries]
    groups = [
        str(a.get("group") or e.folder) for a, e in zip(attributes, manifest.entries, strict=True)
    ]
    places = _sources(manifest) if files else {}
    chosen = _chosen(labels, groups, most, seed)
    rows, unread = [], []
    for place in chosen:
        folder, facts = manifest.folders[place], attributes[place]
        row: Facts = {}
        source = places.get((folder.parent, str(facts.get("key"))))
        if source is not None:
            try:
                row = facts_of(source, limits)
                if frames:
                    row = _joined(row, frame_facts_of(source, limits)[1])
            except VideoError as error:
                unread.append(f"{manifest.entries[place].folder}: {error.reason}")
        media = facts.get("media")
        row |= _media(media if isinstance(media, dict) else {}) | _crop(facts)
        rows.append(row | _background(folder))
        progress()
    return Signals(
        rows=tuple(rows),
        label=np.array([labels[place] for place in chosen], dtype=np.int64),
        group=tuple(groups[place] for place in chosen),
        video_id=tuple(
            str(attributes[p].get("video_id") or manifest.entries[p].folder) for p in chosen
        ),
        method=tuple(str(attributes[p].get("method") or "") for p in chosen),
        dataset=str(attributes[0].get("dataset") or "") if attributes else "",
        unread=tuple(unread),
    )


def _joined(*parts: Facts) -> Facts:
    """One row of several; families that two of them know have the signals of both."""
    row: Facts = {}
    for part in parts:
        for family, values in part.items():
            row[family] = row.get(family, {}) | values
    return row


def _sources(manifest: Manifest) -> dict[tuple[Path, str], Path]:
    """(cache folder, key of the video) -> its file, where it still is."""
    found = {}
    for parent in {folder.parent for folder in manifest.folders}:
        try:
            index = read_index(parent)
        except CacheError:
            continue
        for video in index.videos:
            if Path(video.path).exists():
                found[parent, video.key] = Path(video.path)
    return found


def _chosen(labels: Sequence[int], groups: Sequence[str], most: int, seed: int) -> list[int]:
    """Places of at most so many videos a class, whole leakage groups in a drawn order."""
    if not most:
        return list(range(len(labels)))
    names = sorted(set(groups))
    rank = dict(zip(names, np.random.default_rng(seed).permutation(len(names)), strict=True))
    taken, kept = {REAL: 0, FAKE: 0}, []
    for place in sorted(range(len(labels)), key=lambda p: (rank[groups[p]], p)):
        if taken[labels[place]] < most:
            taken[labels[place]] += 1
            kept.append(place)
    return sorted(kept)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _media(media: dict) -> Facts:
    fps, frames = _number(media.get("fps")), _number(media.get("frames"))
    width, height = _number(media.get("width")), _number(media.get("height"))
    flags = media.get("flags") or ()
    known = bool(width and height)
    return {
        "time": {
            "fps": fps,
            "frames": frames,
            "duration": frames / fps if fps and frames else None,
            "start": _number(media.get("start")),
            "variable rate": "yes" if "vfr" in flags else "no",
        },
        "size": {
            "width": width,
            "height": height,
            "aspect": width / height if known else None,
            "whole blocks": ("yes" if width % 16 == 0 == height % 16 else "no") if known else None,
            "rotation": str(media.get("rotation", 0)),
        },
    }


def _crop(facts: dict) -> Facts:
    """Of boxes and transforms; nothing where the video was stored without them."""
    media = facts.get("media") if isinstance(facts.get("media"), dict) else {}
    width, height = _number(media.get("width")), _number(media.get("height"))
    row: dict[str, str | float | None] = {
        "persons": _number(facts.get("persons")),
        "dropped clips": float(len(facts["dropped"]))
        if isinstance(facts.get("dropped"), list)
        else _number(facts.get("dropped")),
    }
    box, prob, transform = (_array(facts.get(name)) for name in ("box", "prob", "transform"))
    if box is not None and box.ndim == 2 and box.shape[1] == 4:
        left, top, right, bottom = box.mean(axis=0)
        row["face width"] = float(right - left)
        row["face aspect"] = float((right - left) / max(bottom - top, 1e-6))
        if width and height:
            row["face x"], row["face y"] = (
                float((left + right) / 2 / width),
                float((top + bottom) / 2 / height),
            )
            row["face share"] = float((right - left) / width)
    if prob is not None:
        row["detector score"] = float(prob.mean())
    if transform is not None and transform.ndim == 3:
        a, b = transform[:, 0, 0], transform[:, 0, 1]
        row["crop scale"] = float(np.hypot(a, b).mean())
        row["tilt"] = float(np.degrees(np.arctan2(b, a)).mean())
    return {"crop": row}


def _array(value: object) -> NDArray[np.float64] | None:
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return found if found.size and np.isfinite(found).all() else None


def _background(folder: Path) -> Facts:
    """Of the outer ring of one picture of each of at most eight clips."""
    try:
        video = open_video(folder)
        clips = np.unique(np.linspace(0, video.clips - 1, min(8, video.clips)).astype(int))
        pictures = video.read_crops(clips.tolist())[:, 0]
    except (CacheError, VideoError):
        return {}
    return {"background": ring_of(pictures)}


def ring_of(pictures: NDArray[np.uint8]) -> dict[str, str | float | None]:
    """Numbers of the ring of (K, S, S, 3) pictures, means over them; colours 0 to 255."""
    side = pictures.shape[1]
    edge = max(1, round(RING * side))
    values = pictures.astype(np.float64)
    ring = np.ones((side, side), bool)
    ring[edge:-edge, edge:-edge] = False
    colour = values[:, ring]  # (K, P, 3)
    luma = values @ [0.299, 0.587, 0.114]
    # Noise as the mean absolute response of Immerkaer's mask (1996), which ignores planes.
    fine = luma[:, :-2, :-2] - 2 * luma[:, :-2, 1:-1] + luma[:, :-2, 2:]
    fine += -2 * luma[:, 1:-1, :-2] + 4 * luma[:, 1:-1, 1:-1] - 2 * luma[:, 1:-1, 2:]
    fine += luma[:, 2:, :-2] - 2 * luma[:, 2:, 1:-1] + luma[:, 2:, 2:]
    steps = np.abs(np.diff(luma, axis=2))  # (K, S, S - 1)
    on_grid = np.array([steps[:, :, offset::8].mean() for offset in range(min(8, side - 1))])
    red, green, blue = colour.mean(axis=(0, 1))
    return {
        "red": float(red),
        "green": float(green),
        "blue": float(blue),
        "spread": float(colour.std()),
        "saturation": float((colour.max(2) - colour.min(2)).mean()),
        "noise": float(np.sqrt(np.pi / 2) / 6 * np.abs(fine[:, ring[1:-1, 1:-1]]).mean()),
        "blockiness": float(on_grid.max() - np.median(on_grid)),
        "dark border": float((colour.max(2) < 16).mean()),
    }
