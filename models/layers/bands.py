"""DCT band images on the device: pixels (..., 3, S, S) in 0..1 to low, mid and high pictures (...,
9, S, S).

Transform: orthonormal 2-D DCT-II per colour channel, D X D^T, as matrix products with the few basis
rows the two lower bands need. Bands of coefficient (u, v), u down and v across, picture side S:
    area          low u+v < S/sqrt(8), mid < S/2 rounded (S = 240: 85, 120): 1/16, 1/8 of the area
    linear        low u+v < S//16, mid < S//8: the thresholds of M2TR's text as shares of the axis
    linear_f3net  start < u+v <= end at S//16, S//8, S, as the authors' F3-Net; DC and u+v > S are
    lost
    radial        u^2+v^2 below quarter discs of 1/16, 1/8 of the area (ours: free of direction)
All but linear_f3net partition the spectrum, so high = picture - low - mid and the three add up to
the picture. The stored form (pipeline/cache/bands.py) holds the coefficients below the high band,
row by row, of pixels / 255, float16.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unmask.models.layers.precision import at_least_float32, full_precision
from unmask.models.options import ModelError

Definition = Literal["area", "linear", "linear_f3net", "radial"]


def dct_basis(side: int) -> Tensor:
    """Orthonormal DCT-II matrix (S, S) float64: row u is sqrt(2/S) cos(pi (2x+1) u / 2S), row 0 is
    sqrt(1/S).
    """
    place = torch.arange(side, dtype=torch.float64, device="cpu")
    basis = torch.cos(math.pi / (2 * side) * place[:, None] * (2 * place[None, :] + 1)) * math.sqrt(
        2 / side
    )
    basis[0] /= math.sqrt(2)
    return basis


def band_masks(side: int, definition: Definition = "area") -> Tensor:
    """Which coefficients make low, mid and high: (3, S, S) bool, rows u (down), columns v (across).

    Raises ModelError for an unknown definition.
    """
    axis = torch.arange(side, device="cpu")
    u, v = torch.meshgrid(axis, axis, indexing="ij")
    if definition == "area":
        order, low, mid = u + v, round(side / math.sqrt(8)), round(side / 2)
    elif definition == "linear":
        order, low, mid = u + v, side // 16, side // 8
    elif definition == "radial":
        order, low, mid = u**2 + v**2, side**2 / (4 * math.pi), side**2 / (2 * math.pi)
    elif definition == "linear_f3net":
        total, low, mid = u + v, side // 16, side // 8
        return torch.stack(
            [
                (total > 0) & (total <= low),
                (total > low) & (total <= mid),
                (total > mid) & (total <= side),
            ]
        )
    else:
        raise ModelError(
            f"bands: unknown definition {definition!r}; known are {', '.join(get_args(Definition))}"
        )
    return torch.stack([order < low, (order >= low) & (order < mid), order >= mid])


class Bands(nn.Module):
    """Fixed bands of pictures of one side; no parameters, and float32 whatever the autocast around
    it says.

    (..., 3, S, S) pixels in 0..1 -> (..., 9, S, S): low R, G, B, mid R, G, B, high R, G, B.
    `restore` starts from stored coefficients instead, `coefficients` makes them.
    """

    def __init__(self, side: int, definition: Definition = "area") -> None:
        super().__init__()
        self.side, self.definition = side, definition
        masks = band_masks(side, definition)
        if not masks[0].any() or not masks[1].any():
            raise ModelError(
                f"bands: pictures of {side} px have no {definition} bands; use a larger side"
            )
        self.partition = bool((masks.sum(0) == 1).all())
        self.rows = extent(masks[0] | masks[1])
        self.low_rows = extent(masks[0])
        places = (masks[0] | masks[1])[: self.rows, : self.rows].flatten().nonzero().squeeze(1)
        # The tables are made on the processor, since their values decide shapes, and then go where
        # the module is built.
        device = torch.get_default_device()
        self.register_buffer("masks", masks.float().to(device), persistent=False)
        self.register_buffer("basis", dct_basis(side).float().to(device), persistent=False)
        self.register_buffer(
            "places", places.to(device), persistent=False
        )  # row-major, of the stored coefficients

    def forward(self, pixels: Tensor) -> Tensor:
        self.check(pixels)
        with full_precision(pixels.device):
            pixels = at_least_float32(pixels)
            if self.partition:
                return self.assemble(self.spectrum(pixels, self.rows), pixels)
            spectrum = (
                self.spectrum(pixels, self.side).unsqueeze(-4) * self.masks[:, None]
            )  # (..., 3 bands, 3, S, S)
            return self.picture(spectrum, self.side).flatten(-4, -3)

    def restore(self, coefficients: Tensor, pixels: Tensor) -> Tensor:
        """Band images from stored (..., 3, K) coefficients of pixels / 255 and their (..., 3, S, S)
        pixels in 0..1.

        Raises ModelError where K is not that of this side and definition, or the high band is not
        the rest.
        """
        self.check(pixels)
        if not self.partition:
            raise ModelError(
                f"bands: {self.definition} cannot be restored, its high band is not the rest of "
                "the picture"
            )
        if (
            coefficients.shape[-1] != len(self.places)
            or coefficients.shape[:-1] != pixels.shape[:-2]
        ):
            raise ModelError(
                f"bands: expected coefficients {(*pixels.shape[:-2], len(self.places))} for "
                f"{self.definition} at "
                f"{self.side} px, got {tuple(coefficients.shape)}; the cache was made with "
                "another definition or size"
            )
        with full_precision(pixels.device):
            return self.assemble(self.grid(coefficients), at_least_float32(pixels))

    def grid(self, coefficients: Tensor) -> Tensor:
        """Stored (..., 3, K) coefficients at their places, u down and v across.

        Gives (..., 3, rows, rows) float32, zero beyond the mid band.
        """
        grid = coefficients.new_zeros(
            (*coefficients.shape[:-1], self.rows * self.rows), dtype=torch.float32
        )
        grid[..., self.places] = coefficients.float()
        return grid.unflatten(-1, (self.rows, self.rows))

    def coefficients(self, pixels: Tensor) -> Tensor:
        """Stored form of (..., 3, S, S) pixels in 0..1: (..., 3, K) float32, low and mid, row by
        row.
        """
        self.check(pixels)
        with full_precision(pixels.device):
            return self.spectrum(at_least_float32(pixels), self.rows).flatten(-2)[..., self.places]

    def flip(self, coefficients: Tensor) -> Tensor:
        """Coefficients of the pictures mirrored left to right: the sign changes in odd columns
        v.
        """
        sign = 1 - 2 * ((self.places % self.rows) % 2)
        return coefficients * sign.to(coefficients.dtype)

    def spectrum(self, pixels: Tensor, rows: int) -> Tensor:
        """First rows x rows coefficients of D X D^T, (..., 3, rows, rows)."""
        basis = self.basis[:rows].to(pixels.dtype)
        return basis @ (pixels @ basis.T)

    def picture(self, spectrum: Tensor, rows: int) -> Tensor:
        """Inverse of a spectrum that is zero beyond its first rows x rows coefficients, (..., S,
        S).
        """
        basis = self.basis[:rows].to(spectrum.dtype)
        return basis.T @ (spectrum @ basis)

    def assemble(self, spectrum: Tensor, pixels: Tensor) -> Tensor:
        """Low and low + mid by inverse transform, the others as differences: the sum is the
        picture again.
        """
        low, mid = self.masks[0], self.masks[1]
        few, rows = self.low_rows, self.rows
        lowest = self.picture(spectrum[..., :few, :few] * low[:few, :few], few)
        lower = self.picture(spectrum * (low + mid)[:rows, :rows], rows)
        return torch.cat([lowest, lower - lowest, pixels - lower], -3)

    def check(self, pixels: Tensor) -> None:
        if pixels.shape[-3:] != (3, self.side, self.side):
            expected = f"(..., 3, {self.side}, {self.side})"
            raise ModelError(
                f"bands: expected pictures {expected}, got {tuple(pixels.shape)}; build Bands "
                "for that side"
            )


class LearnableBands(Bands):
    """Bands whose masks move: mask + 2 sigmoid(theta) - 1, theta ~ N(0, 0.1) per coefficient
    (F3-Net).
    """

    def __init__(self, side: int, definition: Definition = "area") -> None:
        super().__init__(side, definition)
        self.theta = nn.Parameter(torch.randn(3, side, side) * 0.1)

    def forward(self, pixels: Tensor) -> Tensor:
        self.check(pixels)
        with full_precision(pixels.device):
            weights = self.masks + 2 * torch.sigmoid(at_least_float32(self.theta)) - 1
            spectrum = (
                self.spectrum(at_least_float32(pixels), self.side).unsqueeze(-4) * weights[:, None]
            )
            return self.picture(spectrum, self.side).flatten(-4, -3)  # (..., 9, S, S)


def bands_shape(definition: str, side: int, coefficients: bool) -> tuple[int, int, int]:
    """(9, S, S) of the band images of one picture, (3, R, R) of its low and mid coefficients."""
    if not coefficients:
        return 9, side, side
    low, mid, _ = band_masks(side, definition)
    rows = extent(low | mid)
    return 3, rows, rows


def extent(mask: Tensor) -> int:
    """Rows, or columns where more, from zero that hold every coefficient of the mask (0 for an
    empty one).
    """
    places = mask.nonzero()
    return int(places.max()) + 1 if len(places) else 0
