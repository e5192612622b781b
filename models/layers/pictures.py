"""Networks that look at single pictures as detectors on clips: every frame is a picture, or several
consecutive frames are laid out as one (a thumbnail, Xu et al., "TALL", ICCV 2023, section 3.2).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec

# What the option `thumbnail` of a model on pictures may be -> frames on a side of the picture.
GRIDS = {"none": 1, "2x2": 2}
Thumbnail = Literal["none", "2x2"]


def thumbnail(frames: Tensor) -> Tensor:
    """(N, g^2, C, H, W) in time order -> (N, C, g H, g W), row by row: frame 0 lies top left, frame
    1 right of it.
    """
    grid = round(frames.shape[1] ** 0.5)
    tiles = frames.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5)  # (N, C, g, H, g, W)
    return tiles.flatten(4).flatten(2, 3)


def untiled(pictures: Tensor, grid: int) -> Tensor:
    """(N, g H, g W) -> (N * g^2, H, W), the inverse of `thumbnail` on maps without channels."""
    tiles = pictures.unflatten(2, (grid, -1)).unflatten(1, (grid, -1))  # (N, g, H, g, W)
    return tiles.transpose(2, 3).flatten(0, 2)


def pictures_of(clip: Tensor, grid: int) -> Tensor:
    """(B, T, C, H, W) -> (B, n, C, g H, g W), n = T / g^2 rounded up; the last frame goes on until
    the last picture is full.
    """
    tiles = grid * grid
    missing = -clip.shape[1] % tiles
    if missing:
        clip = torch.cat([clip, clip[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
    if tiles == 1:
        return clip
    pictures = clip.shape[1] // tiles
    whole = thumbnail(clip.reshape(-1, tiles, *clip.shape[2:]))
    return whole.unflatten(0, (-1, pictures))


def picture_spec(name: str, size: int, fit: str, norm: str, option: Thumbnail) -> ClipSpec:
    """What a model on pictures of `size` px takes from the cache: one frame, or as many consecutive
    ones as fill a picture. Raises ModelError for a side that the frames do not divide.
    """
    grid = GRIDS[option]
    if grid == 1:
        return ClipSpec("single", 1, size, fit=fit, norm=norm)
    if size % grid:
        raise ModelError(f"{name}: size {size} does not divide into {option} frames")
    return ClipSpec("consecutive", grid * grid, size // grid, fit="resize", norm=norm)


class PictureModel(nn.Module):
    """A detector of which a subclass says how pictures become features: `name`, `spec`, `head` and
    `feature_of`. The pictures of a clip are judged alone and their logits averaged.

    grid: frames on a side of a picture.
    """

    name: ClassVar[str]
    spec: ClipSpec
    head: nn.Linear
    grid: int = 1

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D)."""
        raise NotImplementedError

    def logits_of(self, feature: Tensor) -> Tensor:
        """(N, D) -> (N, 2)."""
        return self.head(feature)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and feature (B, D), means over the pictures. Raises ModelError for a clip
        of another side.
        """
        side = self.spec.size
        if clip.ndim != 5 or clip.shape[2:] != (3, side, side):
            raise ModelError(
                f"{self.name}: expected a clip (B, T, 3, {side}, {side}), got {tuple(clip.shape)}"
            )
        pictures = pictures_of(clip, self.grid)  # (B, n, 3, S, S)
        count = pictures.shape[1]
        feature = self.feature_of(pictures.flatten(0, 1))  # (B*n, D)
        logits = self.logits_of(feature).unflatten(0, (-1, count))
        return {"logits": logits.mean(1), "feature": feature.unflatten(0, (-1, count)).mean(1)}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]
