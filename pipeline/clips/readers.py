"""What a folder named in a manifest may be: a cached video, an exported one, or a folder of
pictures; one way to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.video import GROUP_FILE, open_video
from unmask.pipeline.clips.hdf5 import Export, is_export, open_export
from unmask.pipeline.clips.picture_folder import PictureClips
from unmask.pipeline.manifests.checked import Manifest, read_manifest


class ClipReader(Protocol):
    """One video's clips, wherever they lie: cache folder, picture folder or exported file."""

    attributes: dict[str, object]
    arrays: tuple[str, ...]
    shape: tuple[int, ...]

    def read_crops(
        self, clips: Sequence[int], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]: ...
    def read_masks(self, clips: Sequence[int]) -> NDArray[np.uint8]: ...


def find_videos(path: Path, cache_root: Path, allow_missing: bool = False) -> Manifest | Export:
    """What a text manifest or an exported file names, checked. Raises ManifestError, CacheError."""
    return (
        open_export(path)
        if is_export(path)
        else read_manifest(path, cache_root, allow_missing=allow_missing)
    )


def open_reader(folder: Path) -> ClipReader:
    """A committed cache folder, or a plain folder of pictures. Raises CacheError for anything
    damaged.
    """
    return open_video(folder) if (folder / GROUP_FILE).is_file() else PictureClips(folder)
