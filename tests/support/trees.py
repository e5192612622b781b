"""Miniatures of official dataset trees: one-byte files in the right places, with real metadata
formats.
"""

from __future__ import annotations

import json
from pathlib import Path

from unmask.pipeline.records import Video
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def plant(root: Path, *names: str, data: bytes = b"x") -> Path:
    """Create small files, with their folders, and return the root."""
    for folder in {(root / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).write_bytes(data)
    return root


def plant_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def find(dataset: str, root: Path, **options: object) -> Dataset:
    return discover(dataset, root, SourceOptions(**options))


def by_key(dataset: Dataset) -> dict[str, Video]:
    """All videos, found and missing, by key."""
    return {video.key: video for video in (*dataset.videos, *dataset.missing)}


def keys(videos: tuple[Video, ...]) -> list[str]:
    return [video.key for video in videos]


def splits(dataset: Dataset) -> dict[str, str]:
    return {video.key: video.split for video in dataset.videos}


def plant_ffpp(
    root: Path, lists: dict[str, list[list[str]]], methods=METHODS, compression: str = "c23"
) -> Path:
    """The official FF++ tree for some pair lists."""
    stems = [stem for pairs in lists.values() for a, b in pairs for stem in (a, b)]
    fakes = [
        stem for pairs in lists.values() for a, b in pairs for stem in (f"{a}_{b}", f"{b}_{a}")
    ]
    plant(root, *(f"original_sequences/youtube/{compression}/videos/{stem}.mp4" for stem in stems))
    for method in methods:
        plant(
            root,
            *(f"manipulated_sequences/{method}/{compression}/videos/{stem}.mp4" for stem in fakes),
        )
    for split, pairs in lists.items():
        plant_json(root / f"{split}.json", pairs)
    return root


SMALL = {
    "train": [["071", "054"], ["087", "081"]],
    "val": [["720", "672"]],
    "test": [["003", "000"]],
}
