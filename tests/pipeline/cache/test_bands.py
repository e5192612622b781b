"""DCT bands are what scipy's float64 transform says, and low + mid + high is the crop again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from tests.support.band_pictures import reconstruct
from tests.support.small_videos import pictures
from unmask.models.layers.bands import Bands
from unmask.pipeline.cache.bands import coefficients, cuts, places

DEFINITIONS = ("area", "linear")


def exact(pixels: np.ndarray) -> np.ndarray:
    """(..., 3, S, S) float64 coefficients of pixels / 255."""
    return dctn(np.moveaxis(pixels, -1, -3) / 255.0, axes=(-2, -1), norm="ortho")


def test_the_cuts_are_those_of_the_definitions() -> None:
    assert cuts(240) == (85, 120)
    assert cuts(240, "linear") == (15, 30)
    assert len(places(240)[0]) == 7260
    # By area: low is 1/16 and low + mid 1/8 of all coefficients, to within one diagonal.
    for size in (64, 112, 224, 240, 256, 299, 320):
        low, mid = cuts(size)
        for cut, share in ((low, 1 / 16), (mid, 1 / 8)):
            assert abs(cut * (cut + 1) / 2 - share * size**2) <= cut
    for bad in ((240, "square"), (0, "area"), (15, "linear"), (1, "area")):
        with pytest.raises(ValueError, match=r"definition|bands"):
            cuts(*bad)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("size", [33, 64, 240])
def test_coefficients_equal_the_float64_transform_in_their_stated_order(
    definition: str, size: int
) -> None:
    pixels = pictures(1, 2, 2, size)
    stored = coefficients(pixels, definition)
    assert stored.shape == (2, 2, 3, len(places(size, definition)[0]))
    assert stored.dtype == np.float16
    u, v = places(size, definition)
    mid = cuts(size, definition)[1]
    assert [(int(a), int(b)) for a, b in zip(u, v, strict=True)] == [
        (a, b) for a in range(mid) for b in range(mid) if a + b < mid
    ]
    expected = exact(pixels)[..., u, v]
    # float16 keeps 11 bits; float32 arithmetic adds less than 1e-4.
    np.testing.assert_allclose(stored, expected, rtol=2**-11, atol=1e-4)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_single_cosine_is_one_coefficient(definition: str) -> None:
    size, amplitude = 64, 100
    grid = np.arange(size)
    wave = 128 + amplitude * np.cos(np.pi * (2 * grid + 1) * 2 / (2 * size))  # v = 2 across
    pixels = (
        np.repeat(np.rint(wave)[None, :, None], size, axis=0).repeat(3, axis=2).astype(np.uint8)
    )
    stored = coefficients(pixels, definition).astype(float)
    u, v = places(size, definition)
    (at,) = np.flatnonzero((u == 0) & (v == 2))
    assert stored[0, at] == pytest.approx(amplitude / 255 * size / np.sqrt(2), rel=1e-3)
    assert stored[0, 0] == pytest.approx(np.rint(wave).mean() / 255 * size, rel=1e-3)
    others = np.delete(stored[0], [0, at])
    assert np.abs(others).max() < 0.05


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_the_three_bands_are_scipys_and_sum_to_the_crop(definition: str) -> None:
    pixels = pictures(2, 1, 2, 240)
    low, mid, high = reconstruct(coefficients(pixels, definition), pixels, definition)
    assert low.dtype == mid.dtype == high.dtype == np.float32
    np.testing.assert_allclose(low + mid + high, pixels, atol=1e-3)
    spectrum = exact(pixels) * 255
    order = np.add.outer(np.arange(240), np.arange(240))
    first, second = cuts(240, definition)
    for band, inside in (
        (low, order < first),
        (mid, (order >= first) & (order < second)),
        (high, order >= second),
    ):
        expected = np.moveaxis(idctn(spectrum * inside, axes=(-2, -1), norm="ortho"), -3, -1)
        np.testing.assert_allclose(
            band, expected, atol=0.2
        )  # grey levels: float16 rounding of the coefficients


def test_the_mean_is_in_low() -> None:
    pixels = np.full((1, 64, 64, 3), 200, np.uint8)
    low, mid, high = reconstruct(coefficients(pixels), pixels)
    np.testing.assert_allclose(low, 200, atol=0.1)
    np.testing.assert_allclose(mid, 0, atol=1e-3)
    np.testing.assert_allclose(high, 0, atol=0.1)


def test_white_crops_of_any_size_stay_finite() -> None:
    stored = coefficients(np.full((2048, 2048, 3), 255, np.uint8), "linear")
    assert np.isfinite(stored).all()
    assert stored[0, 0] == 2048


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_the_device_transform_makes_and_reads_the_same_coefficients(definition: str) -> None:
    pixels = pictures(3, 1, 2, 64)
    device = Bands(64, definition)
    images = torch.from_numpy(np.moveaxis(pixels, -1, -3).astype(np.float32) / 255)
    stored = coefficients(pixels, definition)
    np.testing.assert_allclose(device.coefficients(images).numpy(), stored, rtol=2**-10, atol=2e-4)
    ours = np.concatenate(
        [np.moveaxis(band, -1, -3) for band in reconstruct(stored, pixels, definition)], axis=-3
    )
    theirs = device.restore(torch.from_numpy(stored), images)
    np.testing.assert_allclose(theirs.numpy() * 255, ours, atol=0.02)


def test_they_take_less_than_an_eighth_of_nine_planes() -> None:
    pixels = pictures(0, 1, 1, 240)
    nine_float16_planes = 9 * 240 * 240 * 2
    assert coefficients(pixels).nbytes * 8 <= nine_float16_planes


def test_what_is_no_picture_or_not_its_coefficients_is_refused() -> None:
    pixels = pictures()
    for bad in (pixels.astype(np.float32), pixels[..., :2], pixels[:, :, :30], pixels[0, 0, 0]):
        with pytest.raises(ValueError, match="uint8"):
            coefficients(bad)
    with pytest.raises(ValueError, match="do not belong"):
        reconstruct(coefficients(pixels, "linear"), pixels, "area")


def test_the_cuts_and_the_order_let_a_stranger_rebuild_the_low_band() -> None:
    pixels = pictures(4, 1, 1, 48)[0, 0]
    (low, mid), stored = cuts(48), coefficients(pixels).astype(float)
    spectrum, place = np.zeros((3, 48, 48)), 0
    for u in range(mid):
        for v in range(mid - u):
            if u + v < low:
                spectrum[:, u, v] = stored[:, place]
            place += 1
    expected = np.moveaxis(idctn(spectrum, axes=(-2, -1), norm="ortho"), 0, -1) * 255
    np.testing.assert_allclose(reconstruct(coefficients(pixels), pixels)[0], expected, atol=1e-2)
