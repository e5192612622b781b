"""The demo's dataset: drawn people in the official FaceForensics++ tree, split lists and mask
videos included.

Ours because no deepfake dataset may be shipped: everything here is drawn, so a stranger can walk
the whole road without asking anyone for access. Numbers from it show that the road works, never
that a detector is good.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.sources.dataset import DRAWN_MARKER

# Flicker, place and softness differ by method as they do in FF++; NeuralTextures moves the mouth
# only.
METHODS: dict[str, dict[str, float | bool]] = {
    "Deepfakes": {},
    "NeuralTextures": {"mouth_only": True, "flicker": 0.4, "jitter": 5.0},
}


MARK = b"""All people in this folder are drawn by `unmask demo`, none was filmed.
This file tells extract so: crops, manifests and runs made from it are called "drawn".
"""


@dataclass(frozen=True)
class DemoConfig:
    """Size of the drawn dataset: pairs per split (each is two reals and two fakes per method),
    frames, px.
    """

    train_pairs: int = 12
    val_pairs: int = 3
    test_pairs: int = 5
    frames: int = 64
    width: int = 480
    height: int = 360
    seed: int = 7
    compression: str = "c23"

    @property
    def pairs(self) -> dict[str, list[tuple[str, str]]]:
        """The three split lists: pairs of three-digit ids, each id in one pair only."""
        ids = iter(range(1000))
        counts = {"train": self.train_pairs, "val": self.val_pairs, "test": self.test_pairs}
        return {
            split: [(f"{next(ids):03d}", f"{next(ids):03d}") for _ in range(count)]
            for split, count in counts.items()
        }

    @property
    def videos(self) -> int:
        """How many videos draw_dataset writes, masks not counted."""
        return 2 * (self.train_pairs + self.val_pairs + self.test_pairs) * (1 + len(METHODS))


def draw_dataset(root: Path, config: DemoConfig) -> Iterator[Path]:
    """Write the tree under `root` and yield each video as it appears; a video that is there is left
    alone.

    Tree: original_sequences/youtube/<compression>/videos, manipulated_sequences/<method>/...,
    <method>/masks/videos, train.json, val.json, test.json and DRAWN_MARKER in the root.
    """
    families = [
        both for pairs in config.pairs.values() for a, b in pairs for both in ((a, b), (b, a))
    ]
    write_whole(root / DRAWN_MARKER, MARK)
    for split, pairs in config.pairs.items():
        write_whole(root / f"{split}.json", json.dumps(pairs, indent=1).encode() + b"\n")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for paths in pool.map(lambda both: _draw_family(root, config, *both), families):
            yield from paths


def _draw_family(root: Path, config: DemoConfig, target: str, source: str) -> list[Path]:
    """The real video of `target`, and one fake per method that puts `source` on it."""
    who, donor = (draw_identity(1000 * config.seed + int(name)) for name in (target, source))
    scene = 1000 * config.seed + int(target)
    size = (config.width, config.height)
    real = root / "original_sequences" / "youtube" / config.compression / "videos" / f"{target}.mp4"
    if not real.exists():
        encode_video(real, (picture for picture, _ in draw_frames(who, config.frames, size, scene)))
    paths = [real]
    for method, looks in METHODS.items():
        folder = root / "manipulated_sequences" / method
        fake = folder / config.compression / "videos" / f"{target}_{source}.mp4"
        mask = folder / "masks" / "videos" / fake.name
        if not (fake.exists() and mask.exists()):
            drawn = list(draw_frames(who, config.frames, size, scene, Forgery(donor, **looks)))
            encode_video(mask, [m for _, m in drawn])
            encode_video(fake, [p for p, _ in drawn])
        paths.append(fake)
    return paths


def mosaic(cache: Path, videos: int = 3, columns: int = 8, side: int = 120) -> bytes:
    """A PNG of the first test people: a row for each real video, and under it one for each of its
    fakes.

    cache: the folder <dataset>/<key>.
    columns: clips shown per video, their middle frame, `side` px.
    """
    rows = []
    reals = sorted(cache.glob("youtube-*"))[-videos:]
    for real in reals:
        name = real.name.rsplit("-", 1)[1]
        for folder in (real, *sorted(cache.glob(f"*-{name}_*"))):
            reader = open_video(folder)
            chosen = np.linspace(0, reader.clips - 1, columns).round().astype(int)
            crops = reader.read_crops(list(chosen))[:, reader.shape[1] // 2]
            rows.append(
                np.hstack(
                    [cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops]
                )
            )
    return cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes()
