"""Small committed videos for the tests of the cache and of what reads it: pictures with structure,
not only noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.records import Crops


def pictures(seed: int = 0, clips: int = 3, frames: int = 2, side: int = 32) -> NDArray[np.uint8]:
    """(N, T, S, S, 3): a moving gradient with noise, so that every codec has something to do."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    base = 90 + 60 * np.sin(
        (x + y)[None, None] / 5 + np.arange(clips * frames).reshape(clips, frames, 1, 1)
    )
    noise = rng.integers(0, 40, (clips, frames, side, side, 3))
    return np.clip(base[..., None] + noise, 0, 255).astype(np.uint8)


def crops_of(pixels: NDArray[np.uint8]) -> Crops:
    """Crops with believable numbers beside the pixels."""
    clips, frames = pixels.shape[:2]
    index = np.arange(clips * frames, dtype=np.int64).reshape(clips, frames)
    return Crops(
        pixels=pixels,
        index=index,
        pts=index / 29.97,
        box=np.linspace(1, 99, clips * 4, dtype=np.float32).reshape(clips, 4),
        landmark=np.linspace(1, 99, clips * 10, dtype=np.float32).reshape(clips, 5, 2),
        prob=np.linspace(0.9, 1, clips, dtype=np.float32),
        transform=np.linspace(0, 1, clips * 6, dtype=np.float32).reshape(clips, 2, 3),
        window=np.arange(clips),
        dropped=((7, "no_face"),),
    )


def commit(
    parent: Path, video_id: str = "000_003", pixels: NDArray[np.uint8] | None = None, **options: Any
) -> Path:
    """A committed video; options: bands, masks, attributes, codec."""
    words = {
        "bands": None,
        "masks": None,
        "attributes": {"label": 1, "key": video_id},
        "codec": "zstd",
        **options,
    }
    parent.mkdir(parents=True, exist_ok=True)
    return write_video(
        parent, video_id, crops_of(pictures() if pixels is None else pixels), **words
    )


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes of every file below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
