"""A folder of face pictures (PNG or JPEG) read as if it were a cached video: the Xception-LSTM
authors' format.

The pictures, sorted by the numbers in their names, are cut into up to 16 clips of 5 neighbours
spread over the folder, as extraction would have done, so that every sampling mode works on them.
Sides other than 240 px are resized, each picture by its own size.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.config import CropConfig, Limits
from unmask.pipeline.decode.picture_folder import list_pictures, read_rgb
from unmask.pipeline.errors import CacheError, VideoError

LIMITS = Limits(min_side=1)  # ready face crops may be smaller than a face that can be detected


class PictureClips(ClipReader):
    """One folder of pictures.

    shape: (N, T, S, S, 3) of the clips it gives.
    attributes: only what a folder can say of itself.
    Raises CacheError when it holds fewer pictures than one clip.
    """

    def __init__(self, folder: Path, config: CropConfig | None = None) -> None:
        config = config or CropConfig()
        self.folder, self.arrays = folder, ("crops",)
        try:
            self.files = list_pictures(folder)
        except VideoError as error:
            raise CacheError(f"{folder}: {error}; take it off the manifest") from error
        if len(self.files) < config.frames:
            raise CacheError(
                f"{folder}: {len(self.files)} pictures, one clip needs {config.frames}; take it "
                "off the manifest"
            )
        clips = min(config.clips, len(self.files) // config.frames)
        last = len(self.files) - config.frames
        self.starts = np.rint(np.linspace(0, last, clips)).astype(int)
        self.shape = (clips, config.frames, config.size, config.size, 3)

    @cached_property
    def attributes(self) -> dict[str, object]:
        return {"key": self.folder.name, "dataset": self.folder.parent.name}

    def empty(self, count: int, array: str = "crops") -> NDArray[np.uint8]:
        return np.empty((count, *self.shape[1:]), np.uint8)

    def read(self, array: str, clip: int, out: NDArray) -> None:
        """Raises CacheError naming a picture that cannot be read, else as ClipReader."""
        if not 0 <= clip < self.clips:
            raise IndexError(f"{self.folder}: clip {clip} of {self.clips}")
        if out.shape != self.shape[1:] or out.dtype != np.uint8:
            raise ValueError(f"expected room for {self.shape[1:]} uint8, got {out.shape}")
        for t, place in enumerate(out):
            place[:] = self._picture(self.files[self.starts[clip] + t])

    def lacks(self, array: str) -> CacheError:
        return CacheError(f"{self.folder}: a folder of pictures has no {array}")

    def _picture(self, path: Path) -> NDArray[np.uint8]:
        """(S, S, 3) uint8, read by the one reader that extraction uses too."""
        side = self.shape[2]
        try:
            pixels = read_rgb(path, LIMITS)  # (H, W, 3)
        except (OSError, VideoError) as error:
            raise CacheError(
                f"{path}: not a readable picture ({error}); replace or remove it"
            ) from error
        if pixels.shape[:2] == (side, side):
            return pixels
        # Late: torchvision loads torch's compiler, three seconds that no cached clip needs.
        from torchvision.transforms.v2 import functional

        planes = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, H, W)
        return functional.resize(planes, [side, side], antialias=True).permute(1, 2, 0).numpy()
