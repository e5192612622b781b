"""What decides the bytes of stored features, the key made of it, and the index that keeps it.

<store>/<dataset>/<crop key>/<feature key>/index.json    settings and the ids of all videos
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from unmask.models.backbones import BACKBONES
from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.disk.files import read_json, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.disk.locks import taking_turns
from unmask.pipeline.errors import CacheError

log = logging.getLogger(__name__)

# Raise when the same settings give other features; old ones then get another key.
FORMAT = 1
INDEX = "index.json"
MAX_INDEX = 2**28


@dataclass(frozen=True)
class FeatureSettings:
    """Everything that decides the features of a crop.

    crops: cache key of the crops.
    backbone: timm's name with its tag.
    size, fit, norm: how a crop becomes the encoder's picture (models/spec.py).
    weights: sha256 of the encoder's tensors, their names and shapes.
    origin: where these came from: timm, random:SEED, or a file; no part of the key.
    precision: of the computation; what is stored is float16.
    """

    crops: str
    backbone: str
    size: int
    fit: Literal["resize", "crop"]
    norm: str
    weights: str
    origin: str
    precision: Literal["float32"] = "float32"

    @property
    def key(self) -> str:
        """Name of the folder for these features, e.g. `clip-l-224px-3f2a9c0d41b7`."""
        decides = {k: v for k, v in asdict(self).items() if k != "origin"} | {"format": FORMAT}
        digest = hashlib.sha256(canonical(decides).encode()).hexdigest()[:12]
        short = {known.source: name for name, known in BACKBONES.items()}
        name = short.get(self.backbone, self.backbone.replace(".", "-"))
        return f"{name}-{self.size}px-{digest}"


def write_index(parent: Path, settings: FeatureSettings, videos: Iterable[str]) -> None:
    """Add these ids to the index of a folder of features; written only when something changed."""
    with taking_turns(parent):
        known: set[str] = set()
        if (parent / INDEX).exists():
            try:
                settings, there = read_index(parent)
                known = set(there)
            except CacheError as error:
                log.warning("%s", error)
        document = {"settings": asdict(settings), "videos": sorted(known | set(videos))}
        data = json.dumps(document, indent=0, sort_keys=True).encode() + b"\n"
        if not (parent / INDEX).exists() or (parent / INDEX).read_bytes() != data:
            write_whole(parent / INDEX, data)


def read_index(parent: Path) -> tuple[FeatureSettings, list[str]]:
    """Settings and ids of a folder of features.

    Raises CacheError where the index is absent, damaged, or of another key than its folder's name.
    """
    path = parent / INDEX
    try:
        index = read_json(path, MAX_INDEX, CacheError)
        videos = index.get("videos")
        settings = record_of(FeatureSettings, index.get("settings"), path, CacheError, "settings.")
        if not isinstance(videos, list) or not all(isinstance(one, str) for one in videos):
            raise CacheError(f"{path}: damaged: not a list of videos with their settings")
        if settings.key != parent.name or settings.crops != parent.parent.name:
            raise CacheError(f"{path}: damaged: settings of {settings.crops}/{settings.key}")
    except CacheError as error:
        raise CacheError(f"{error}; run `features` again, it writes a new one") from error
    return settings, videos
