"""The device's DCT bands against scipy, against the stored form of the pipeline, and their
edges.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from tests.support.band_pictures import reconstruct
from unmask.models.layers.bands import Bands, LearnableBands, band_masks, dct_basis
from unmask.models.options import ModelError
from unmask.pipeline.cache import bands as stored

DEFINITIONS = ("area", "linear", "linear_f3net", "radial")


def picture(side: int, *lead: int) -> np.ndarray:
    """Smooth shapes and noise, (*lead, S, S, 3) uint8."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[:side, :side] / side
    smooth = 120 + 60 * np.sin(7 * x + 3 * y)[..., None] * np.array([1.0, 0.5, -1.0])
    noise = rng.normal(0, 20, (*lead, side, side, 3))
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """(..., S, S, 3) uint8 -> (..., 3, S, S) in 0..1."""
    return torch.from_numpy(np.moveaxis(pixels, -1, -3).copy()).float() / 255


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_bands_equal_scipys_masked_transform(definition: str) -> None:
    pixels = as_tensor(picture(64, 2))
    got = Bands(64, definition)(pixels).numpy()
    masks = band_masks(64, definition).numpy()
    spectrum = dctn(pixels.numpy().astype(np.float64), axes=(-2, -1), norm="ortho")
    expected = np.concatenate(
        [idctn(spectrum * mask, axes=(-2, -1), norm="ortho") for mask in masks], -3
    )
    assert got.shape == (2, 9, 64, 64)
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("definition", ["area", "linear", "radial"])
def test_low_mid_and_high_add_up_to_the_picture(definition: str) -> None:
    pixels = as_tensor(picture(96, 1, 2))
    bands = Bands(96, definition)(pixels).unflatten(2, (3, 3))
    torch.testing.assert_close(bands.sum(2), pixels, atol=1e-6, rtol=0)
    assert (band_masks(96, definition).sum(0) == 1).all()


def test_the_f3net_bands_have_the_counts_of_its_code_and_lose_the_mean() -> None:
    assert band_masks(320, "linear_f3net").sum((1, 2)).tolist() == [230, 630, 50_818]
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert Bands(64, "linear_f3net")(flat).abs().max() < 1e-6


def test_area_bands_are_a_sixteenth_and_an_eighth_of_the_spectrum() -> None:
    for definition in ("area", "radial"):
        low, mid, _ = (band_masks(240, definition).flatten(1).float().mean(1)).tolist()
        assert low == pytest.approx(1 / 16, rel=0.03) and low + mid == pytest.approx(
            1 / 8, rel=0.03
        )
    u, v = np.indices((240, 240))
    assert (band_masks(240, "area")[0].numpy() == (u + v < 85)).all()


def test_basis_is_orthonormal() -> None:
    basis = dct_basis(240)
    torch.testing.assert_close(
        basis @ basis.T, torch.eye(240, dtype=torch.float64), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("definition", ["area", "linear"])
def test_stored_coefficients_and_pixels_give_the_same_bands(definition: str) -> None:
    pixels = picture(80, 2, 3)
    kept = stored.coefficients(pixels, definition)
    bands = Bands(80, definition)
    tensor = as_tensor(pixels)
    np.testing.assert_allclose(
        bands.coefficients(tensor).numpy(), kept.astype(np.float32), atol=2e-5, rtol=1e-3
    )
    restored = bands.restore(torch.from_numpy(kept), tensor)
    expected = (
        np.concatenate([np.moveaxis(b, -1, -3) for b in reconstruct(kept, pixels, definition)], -3)
        / 255
    )
    np.testing.assert_allclose(restored.numpy(), expected, atol=1e-5)
    # float16 keeps the bands to a fraction of a grey level
    torch.testing.assert_close(restored, bands(tensor), atol=0.3 / 255, rtol=0)


def test_mirroring_the_picture_changes_the_sign_of_odd_columns() -> None:
    pixels, bands = as_tensor(picture(48)), Bands(48)
    torch.testing.assert_close(
        bands.flip(bands.coefficients(pixels)),
        bands.coefficients(pixels.flip(-1)),
        atol=1e-5,
        rtol=0,
    )


def test_autocast_does_not_touch_the_bands() -> None:
    pixels, bands = as_tensor(picture(64)), Bands(64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bands(pixels), bands(pixels)) and bands(pixels).dtype == torch.float32
        inside = bands(pixels)
    assert torch.equal(inside, bands(pixels))


def test_learnable_bands_start_from_the_fixed_ones_at_theta_zero() -> None:
    pixels, learnable = as_tensor(picture(32, 2)), LearnableBands(32)
    assert learnable.theta.std().item() == pytest.approx(0.1, rel=0.1)
    with torch.no_grad():
        learnable.theta.zero_()
    torch.testing.assert_close(learnable(pixels), Bands(32)(pixels), atol=2e-6, rtol=0)
    learnable(pixels).square().sum().backward()
    assert (learnable.theta.grad != 0).all()


def test_wrong_side_definition_and_coefficients_are_refused() -> None:
    with pytest.raises(ModelError, match="unknown definition 'square'; known are area, linear"):
        Bands(64, "square")
    with pytest.raises(
        ModelError, match=r"expected pictures \(\.\.\., 3, 64, 64\), got \(1, 3, 48, 48\)"
    ):
        Bands(64)(torch.rand(1, 3, 48, 48))
    with pytest.raises(ModelError, match="made with another definition or size"):
        Bands(64).restore(torch.rand(1, 3, 7), torch.rand(1, 3, 64, 64))
    with pytest.raises(ModelError, match="cannot be restored"):
        Bands(64, "linear_f3net").restore(torch.rand(1, 3, 7), torch.rand(1, 3, 64, 64))
    with pytest.raises(ModelError, match="8 px have no linear bands"):
        Bands(8, "linear")
