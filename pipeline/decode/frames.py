"""Decoded frames that are converted to RGB where somebody looks: a crop needs a tenth of a picture,
and only the detector sees one that is not a part.

Ours because converting whole 4:4:4 pictures of 1920x1080 took a fifth of extraction. A part has
exactly the pixels that the whole conversion has there (tested); `sparse` serves comparisons only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from unmask.pipeline.decode.resize import halve
from unmask.pipeline.decode.rgb import Converter, plane_rows
from unmask.pipeline.decode.tone_map import is_high_range

# Pixel formats of which a part can be converted alone -> log2 of how much smaller their chroma is.
CHROMA = {"yuv420p": 1, "yuvj420p": 1, "yuv444p": 0, "yuvj444p": 0}

# swscale goes through a row in steps of so many px: a part on this grid is rounded as the whole row
# is.
GRID = 16


class Converters:
    """One per video and use: swscale is set up anew for every size."""

    def __init__(self, rotation: int) -> None:
        self.whole, self.half, self.part, self.sparse = (
            Converter(rotation),
            *(Converter(0) for _ in range(3)),
        )
        self.upright = rotation == 0


class DecodedFrame:
    """One decoded frame. height, width: of the upright picture, px."""

    def __init__(self, frame: VideoFrame, converters: Converters, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.frame, self.converters = frame, converters
        # A frame of another size or range is converted whole.
        plain = converters.upright and (frame.width, frame.height) == (width, height)
        plain = plain and not is_high_range(frame.color_trc)
        self.chroma = CHROMA.get(frame.format.name) if plain else None
        self._pixels: NDArray[np.uint8] | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """All of it, (H, W, 3) uint8 RGB, converted once."""
        if self._pixels is None:
            self._pixels = np.empty((self.height, self.width, 3), np.uint8)
            self.converters.whole.write(self.frame, self._pixels)
        return self._pixels

    def half(self) -> NDArray[np.uint8]:
        """Half as high and wide, each pixel the mean of 2 x 2, up to the rounding of the
        conversion.

        4:4:4 is made smaller before it is converted: the detector rarely needs more, and a whole
        picture of 1920x1080 takes 6 ms. 4:2:0 has a fast conversion, and would lose colour.
        """
        if self.chroma != 0:
            return halve(self.pixels())
        small = VideoFrame(self.width // 2, self.height // 2, self.frame.format.name)
        small.colorspace, small.color_range = self.frame.colorspace, self.frame.color_range
        for source, target in zip(self.frame.planes, small.planes, strict=True):
            plane_rows(target, small.width)[:] = halve(
                plane_rows(source, self.width)[: self.height]
            )
        pixels = np.empty((small.height, small.width, 3), np.uint8)
        self.converters.half.write(small, pixels)
        return pixels

    def part(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
        """[top:bottom, left:right] of the pixels."""
        if self._pixels is not None or self.chroma is None:
            return self.pixels()[top:bottom, left:right]
        x, y = left // GRID * GRID, top // 2 * 2
        far, low = min(-(-right // GRID) * GRID, self.width), min(-(-bottom // 2) * 2, self.height)

        def cut(plane: NDArray, chroma: int) -> NDArray:
            return plane[
                y >> chroma : (low + chroma) >> chroma, x >> chroma : (far + chroma) >> chroma
            ]

        pixels = _convert(
            [self], self.converters.part, cut, self.frame.format.name, far - x, low - y
        )[0]
        return pixels[top - y : bottom - y, left - x : right - x]


def sparse(pictures: Sequence[DecodedFrame], step: int) -> Sequence[NDArray[np.uint8]]:
    """Every step-th pixel of every step-th row of each picture, up to the rounding of the
    conversion.
    """
    first = pictures[0]
    formats = {picture.frame.format.name for picture in pictures}
    if any(picture.chroma is None for picture in pictures) or len(formats) > 1:
        return [picture.pixels()[::step, ::step] for picture in pictures]
    height, width = -(-first.height // step), -(-first.width // step)

    def pick(plane: NDArray, chroma: int) -> NDArray:
        if step % 2 and chroma:
            rows, columns = (np.arange(n) * step // 2 for n in (height, width))
            return plane[rows[:, None], columns]
        return plane[: first.height : step >> chroma, : first.width : step >> chroma][
            :height, :width
        ]

    whole_chroma = first.frame.format.name.replace("420", "444")
    return _convert(pictures, first.converters.sparse, pick, whole_chroma, width, height)


def _convert(
    pictures: Sequence[DecodedFrame],
    converter: Converter,
    choose: Callable[[NDArray, int], NDArray],
    form: str,
    width: int,
    height: int,
) -> NDArray[np.uint8]:
    """What `choose` takes from each plane of some pictures, (n, height, width, 3) uint8 RGB.

    They are converted as one smaller frame in which they stand one below the other.
    """
    small = VideoFrame(width, height * len(pictures), form)
    given = pictures[0].frame
    small.colorspace, small.color_range = given.colorspace, given.color_range
    for number, target in enumerate(small.planes):
        rows = plane_rows(target, target.line_size)
        for place, picture in enumerate(pictures):
            source = picture.frame.planes[number]
            chosen = choose(plane_rows(source, source.line_size), picture.chroma if number else 0)
            at = place * len(chosen)
            rows[at : at + len(chosen), : chosen.shape[1]] = chosen
    pixels = np.empty((len(pictures) * height, width, 3), np.uint8)
    converter.write(small, pixels)
    return pixels.reshape(len(pictures), height, width, 3)


@dataclass(frozen=True)
class ArrayFrames:
    """Frames whose pixels are in memory.

    pixels: (T, H, W, 3) uint8, RGB.
    index: (T,) int64, frame number in the file.
    pts: (T,) float64, seconds.
    """

    pixels: NDArray[np.uint8]
    index: NDArray[np.int64]
    pts: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.index) == len(self.pts):
            raise ValueError(
                f"ArrayFrames: {len(self.pixels)} images, {len(self.index)} indices, "
                f"{len(self.pts)} times"
            )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1:3]

    def picture(self, number: int) -> NDArray[np.uint8]:
        return self.pixels[number]

    view = picture

    def part(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
        return self.pixels[:, top:bottom, left:right]

    def sparse(self, step: int) -> NDArray[np.uint8]:
        return self.pixels[:, ::step, ::step]


@dataclass(frozen=True)
class DecodedFrames:
    """Frames of a video file; `pixels` converts all of them, the other ways no more than is asked
    for.

    pictures: T decoded frames.
    index: (T,) int64, frame number in the file.
    pts: (T,) float64, seconds.
    """

    pictures: Sequence[DecodedFrame]
    index: NDArray[np.int64]
    pts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return np.stack([picture.pixels() for picture in self.pictures])

    @property
    def size(self) -> tuple[int, int]:
        return self.pictures[0].height, self.pictures[0].width

    def picture(self, number: int) -> NDArray[np.uint8]:
        return self.pictures[number].pixels()

    def view(self, number: int) -> DecodedFrame:
        return self.pictures[number]

    def part(self, left: int, top: int, right: int, bottom: int) -> list[NDArray[np.uint8]]:
        return [picture.part(left, top, right, bottom) for picture in self.pictures]

    def sparse(self, step: int) -> Sequence[NDArray[np.uint8]]:
        return sparse(self.pictures, step)
