"""A folder of face pictures (PNG or JPEG) read as if it were a cached video: the Xception-LSTM
authors' format.

The pictures, sorted by the numbers in their names, are cut into up to 16 clips of 5 neighbours
spread over the folder, as extraction would have done, so that every sampling mode works on them.
Sides other than 240 px are resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from unmask.pipeline.config import CropConfig
from unmask.pipeline.decode.picture_folder import list_pictures
from unmask.pipeline.errors import CacheError


class PictureClips:
    """One folder of pictures with the reading interface of a cached video.

    shape: (N, T, S, S, 3) of the clips it gives.
    attributes: only what a folder can say of itself.
    Raises CacheError when it holds fewer pictures than one clip.
    """

    def __init__(self, folder: Path, config: CropConfig | None = None) -> None:
        config = config or CropConfig()
        self.folder, self.files, self.arrays = folder, list_pictures(folder), ("crops",)
        if len(self.files) < config.frames:
            raise CacheError(
                f"{folder}: {len(self.files)} pictures, one clip needs {config.frames}; take it "
                "off the manifest"
            )
        clips = min(config.clips, len(self.files) // config.frames)
        last = len(self.files) - config.frames
        self.starts = np.rint(np.linspace(0, last, clips)).astype(int)
        self.shape = (clips, config.frames, config.size, config.size, 3)
        self.attributes: dict[str, object] = {"key": folder.name, "dataset": folder.parent.name}

    @property
    def clips(self) -> int:
        return self.shape[0]

    def read_crops(
        self, clips: Sequence[int], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """(n,T,S,S,3) uint8 of the chosen clips. Raises CacheError naming a picture that cannot be
        read.
        """
        out = np.empty((len(clips), *self.shape[1:]), np.uint8) if out is None else out
        for row, clip in enumerate(clips):
            for t in range(self.shape[1]):
                out[row, t] = self._picture(self.files[self.starts[clip] + t])
        return out

    def read_masks(self, clips: Sequence[int]) -> NDArray[np.uint8]:
        raise CacheError(f"{self.folder}: a folder of pictures has no masks")

    def _picture(self, path: Path) -> NDArray[np.uint8]:
        side = self.shape[2]
        try:
            bytes_ = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
            pixels = decode_image(bytes_, ImageReadMode.RGB)  # (3,H,W)
        except (OSError, RuntimeError, ValueError) as error:
            raise CacheError(
                f"{path}: not a readable picture ({type(error).__name__}); replace or remove it"
            ) from error
        if pixels.shape[1:] != (side, side):
            pixels = functional.resize(pixels, [side, side], antialias=True)
        return pixels.permute(1, 2, 0).numpy()
