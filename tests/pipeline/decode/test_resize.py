"""Smaller pictures: halves are means, and whatever the size no pixel is jumped over."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unmask.pipeline.decode.resize import halve, reduce_to


@pytest.mark.parametrize("size", [(2, 2), (36, 64), (37, 65), (3, 200)])
def test_a_half_is_the_mean_of_two_by_two(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    height, width = size[0] // 2, size[1] // 2
    means = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
    assert halve(picture).shape == means.shape and np.abs(halve(picture) - means).max() <= 0.5


@pytest.mark.parametrize(
    ("size", "wanted"), [((72, 128), (18, 32)), ((96, 96), (24, 24)), ((40, 40), (40, 40))]
)
def test_a_whole_power_of_two_is_the_mean_too(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    factor = size[0] // wanted[0]
    means = picture.reshape(wanted[0], factor, wanted[1], factor, 3).mean((1, 3))
    assert (
        np.abs(reduce_to(picture, wanted[1], wanted[0]) - means).max() <= 1.5
    )  # rounded at every halving


@pytest.mark.parametrize(
    "size", [(120, 120), (72, 128), (67, 239), (720, 1280), (32, 32), (33, 500), (20, 20)]
)
def test_a_smooth_picture_keeps_its_look_at_any_size(size: tuple[int, int]) -> None:
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([255 * rows / height, 255 * columns / width, 0 * rows + 70], 2).astype(
        np.uint8
    )
    small = reduce_to(picture, 32, 32)
    expected = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)
    assert small.shape == (32, 32, 3) and np.abs(small.astype(int) - expected).max() <= 12


@pytest.mark.parametrize(
    "size", [(480, 480), (50, 120), (53, 159), (67, 128), (120, 50), (34, 239)]
)
@pytest.mark.parametrize("period", [2, 3])
def test_fine_stripes_become_grey_and_not_one_of_their_colours(
    size: tuple[int, int], period: int
) -> None:
    for axis in (0, 1):
        if size[axis] < 96:  # stripes that three pixels of the reduced picture cannot hide
            continue
        stripes = np.where(np.arange(size[axis]) % period, 0, 255).astype(np.uint8)
        picture = np.zeros((*size, 3), np.uint8) + (
            stripes[:, None, None] if axis == 0 else stripes[:, None]
        )
        small = reduce_to(picture, 32, 32).astype(int)
        assert np.abs(small - 255 / period).max() <= 45, "nothing near black or white"
