"""Folders as they look in a cache, metadata only: what manifests read of a video before anyone
reads its crops.
"""

from __future__ import annotations

import json
from pathlib import Path

from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Entry

KEY = "16x5-240px-0123456789ab"


def plant_cached(cache: Path, folder: str, **attributes: object) -> Entry:
    """One cached video's group metadata; the label is the one in the attributes."""
    (cache / folder).mkdir(parents=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (cache / folder / "zarr.json").write_text(json.dumps(document))
    return Entry(folder, int(attributes.get("label", 0)))


def plant_pictures(root: Path, folder: str, count: int = 2) -> None:
    (root / folder).mkdir(parents=True)
    for number in range(count):
        (root / folder / f"{number}.png").write_bytes(b"x")


def plant_video(cache: Path, name: str, label: int, key: str = KEY, **attributes: object) -> Entry:
    """`ffpp/<key>/<name>` with the attributes of an FF++ video."""
    facts = {
        "dataset": "ffpp",
        "method": "Deepfakes" if label else "real",
        "compression": "c23",
        "group": name,
    }
    return plant_cached(cache, f"ffpp/{key}/{name}", label=label, **{**facts, **attributes})


def write(path: Path, *entries: Entry) -> Path:
    write_manifest(path, entries)
    return path
