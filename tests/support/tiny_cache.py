"""Small real caches and manifests for tests of what comes after extraction: drawn crops, written by
write_video.

A fake differs from its original as fakes do: the same picture with a patch that is brighter and
flickers from frame to frame, so that every kind of detector can learn it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL, Crops, Entry

KEY = "tiny-key"


def draw_video(
    number: int, label: int, clips: int = 4, frames: int = 3, side: int = 32
) -> np.ndarray:
    """(clips, frames, side, side, 3) uint8: a smooth picture of `number`; a fake's middle
    flickers.
    """
    rng = np.random.default_rng([7, number])
    coarse = rng.uniform(40, 170, (4, 4, 3))
    picture = np.kron(coarse, np.ones((side // 4, side // 4, 1)))
    pixels = np.broadcast_to(picture, (clips, frames, side, side, 3)) + rng.normal(
        0, 3, (clips, frames, side, side, 3)
    )
    if label == FAKE:
        middle = slice(side // 4, 3 * side // 4)
        flicker = 30 + 20 * (-1.0) ** np.arange(frames)
        pixels[:, :, middle, middle] += flicker[None, :, None, None, None]
    return pixels.clip(0, 255).astype(np.uint8)


def mask_of(pixels: np.ndarray) -> np.ndarray:
    """(clips, frames, side, side) uint8: 255 where draw_video's fakes flicker."""
    side = pixels.shape[2]
    mask = np.zeros(pixels.shape[:4], np.uint8)
    mask[:, :, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 255
    return mask


def crops_of(pixels: np.ndarray) -> Crops:
    """The pixels with the plain geometry of a face that never moves."""
    clips, frames, side = pixels.shape[:3]
    index = np.arange(clips * frames, dtype=np.int64).reshape(clips, frames)
    return Crops(
        pixels=pixels,
        index=index,
        pts=index / 25,
        box=np.tile(np.array([4, 4, side - 4, side - 4], np.float32), (clips, 1)),
        landmark=np.full((clips, 5, 2), side / 2, np.float32),
        prob=np.ones(clips, np.float32),
        transform=np.tile(np.eye(2, 3, dtype=np.float32), (clips, 1, 1)),
        window=np.arange(clips, dtype=np.int64),
    )


def write_one(
    cache: Path,
    name: str,
    pixels: np.ndarray,
    label: int,
    masks: np.ndarray | None = None,
    bands: np.ndarray | None = None,
    **facts: object,
) -> Entry:
    """Commit one video under cache/tiny/KEY and return its manifest entry."""
    attributes = {"dataset": "tiny", "key": name, "video_id": name, "label": label, **facts}
    (cache / "tiny" / KEY).mkdir(parents=True, exist_ok=True)
    write_video(cache / "tiny" / KEY, name, crops_of(pixels), bands, masks, attributes, "zstd")
    return Entry(f"tiny/{KEY}/{name}", label)


def make_cache(
    root: Path, splits: dict[str, int] | None = None, *, masks: bool = False, **shape: int
) -> tuple[Path, Path]:
    """A cache with as many real/fake pairs per split as told, and its manifests: (cache root,
    manifest folder).

    masks: fakes have the mask of their flickering patch.
    shape: clips, frames, side of draw_video.
    """
    number = 0
    for split, pairs in (splits or {"train": 6, "val": 3}).items():
        entries = []
        for _ in range(pairs):
            for label, name, method in (
                (REAL, f"r{number:03}", "real"),
                (FAKE, f"f{number:03}", "Deepfakes"),
            ):
                pair = {"pair": f"r{number:03}"} if label == FAKE else {}
                pixels = draw_video(number, label, **shape)
                entries.append(
                    write_one(
                        root / "cache",
                        name,
                        pixels,
                        label,
                        mask_of(pixels) if masks and label == FAKE else None,
                        method=method,
                        split=split,
                        **pair,
                    )
                )
            number += 1
        write_manifest(root / "manifests" / "tiny" / f"{split}.txt", entries)
    return root / "cache", root / "manifests" / "tiny"
