"""Mask-SSIM against worked values and the formula of the paper, written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unmask.pipeline.clips.h264 import h264
from unmask.pipeline.quality.similarity import dilated, eroded, luma, mask_ssim, ssim_map

SQUARE = np.zeros((240, 240), bool)
SQUARE[60:180, 60:180] = True
FLAT = np.full((240, 240, 3), 100, np.uint8)
BRIGHTER = np.where(SQUARE[..., None], np.uint8(120), FLAT)


def written_out(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """SSIM as Wang et al. print it, on scipy's Gaussian."""

    def mean(picture: np.ndarray) -> np.ndarray:
        return gaussian_filter(picture, 1.5, truncate=3.5, mode="mirror")

    mu, nu = mean(one), mean(two)
    cross = mean((one) * (two)) - mu * nu
    spread = mean(one**2) - mu**2 + mean(two**2) - nu**2
    c1, c2 = 6.5025, 58.5225
    return (2 * mu * nu + c1) * (2 * cross + c2) / ((mu**2 + nu**2 + c1) * (spread + c2))


def test_equal_pictures_are_exactly_one() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert mask_ssim(picture, picture, SQUARE[40:88, 40:88]) == 1.0


def test_the_map_is_the_formula_of_the_paper() -> None:
    rng = np.random.default_rng(1)
    one = rng.uniform(0, 255, (40, 40))
    two = (one + rng.normal(0, 20, one.shape)).clip(0, 255)
    np.testing.assert_allclose(ssim_map(one, two), written_out(one, two), atol=1e-12)
    opposite = ssim_map(one, 255 - one)
    assert opposite.mean() < -0.9


def test_a_brighter_square_has_the_worked_values() -> None:
    whole = np.ones_like(SQUARE)
    light = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)  # far from the seam
    assert mask_ssim(FLAT, BRIGHTER, SQUARE, erode=5) == pytest.approx(light, abs=1e-6)
    assert mask_ssim(FLAT, BRIGHTER, SQUARE) == pytest.approx(0.939686, abs=1e-6)
    assert mask_ssim(FLAT, BRIGHTER, whole) == pytest.approx(0.973422, abs=1e-6)
    assert mask_ssim(FLAT, BRIGHTER, SQUARE, "multiplied") == pytest.approx(0.994406, abs=1e-6)


def test_a_mask_of_no_pixel_has_no_value() -> None:
    assert mask_ssim(FLAT, FLAT, np.zeros_like(SQUARE)) is None
    assert mask_ssim(FLAT, FLAT, SQUARE, erode=60) is None


def test_masks_grow_and_shrink_by_pixels_and_the_border_is_no_edge() -> None:
    assert eroded(SQUARE, 5).sum() == 110**2 and dilated(SQUARE, 5).sum() == 130**2
    assert eroded(np.ones_like(SQUARE), 9).all() and eroded(SQUARE, 0) is SQUARE


def test_luma_is_that_of_bt_601() -> None:
    assert luma(np.eye(3, dtype=np.uint8) * 200).tolist() == pytest.approx([59.8, 117.4, 22.8])


def test_stronger_compression_of_an_original_is_farther_from_it() -> None:
    rng = np.random.default_rng(2)
    coarse = np.kron(rng.uniform(40, 200, (8, 8, 3)), np.ones((12, 12, 1)))
    picture = (coarse + rng.normal(0, 6, coarse.shape)).clip(0, 255).astype(np.uint8)
    clip = np.stack([picture, picture])
    face = SQUARE[40:136, 40:136]
    values = [mask_ssim(picture, h264(clip, crf)[0], face) for crf in (18, 28, 40)]
    assert 1 > values[0] > values[1] > values[2] > 0
