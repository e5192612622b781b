"""DCT-CNN: the released layers, on coefficients that the cache holds, without a pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unmask.models import create_model
from unmask.models.options import ModelError
from unmask.pipeline.cache.bands import coefficients


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("dct_cnn", side=64).eval()


def stored(side: int = 64) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """(2, 1, S, S, 3) pixels, the clip (2, 1, 3, S, S) in 0..1, and the grid of what extraction
    stores of them.
    """
    pixels = np.random.default_rng(2).integers(0, 256, (2, 1, side, side, 3), np.uint8)
    kept = torch.from_numpy(coefficients(pixels))
    clip = torch.from_numpy(pixels).movedim(-1, -3).float() / 255
    return pixels, clip, create_model("dct_cnn", side=side).bands.grid(kept)


def test_stored_coefficients_give_the_logits_of_the_pixels(model) -> None:
    _, clip, grid = stored()
    with torch.no_grad():
        torch.testing.assert_close(model(None, grid), model(clip), rtol=0, atol=2e-3)


def test_a_mirrored_picture_is_the_same_to_it(model) -> None:
    _, clip, _ = stored()
    with torch.no_grad():
        torch.testing.assert_close(model(clip.flip(-1)), model(clip), rtol=0, atol=1e-4)


def test_its_layers_are_the_released_ones() -> None:
    """build_simple_cnn written out again with torch's functions, after the scaling."""
    torch.manual_seed(1)
    model = create_model("dct_cnn").eval()
    assert [tuple(conv.weight.shape) for conv in model.convs] == [
        (3, 3, 3, 3),
        (8, 3, 3, 3),
        (16, 8, 3, 3),
        (32, 16, 3, 3),
    ]
    _, _, grid = stored(240)
    assert grid.shape == (2, 1, 3, 120, 120)
    with torch.no_grad():
        x = model.scaled(grid[:, 0])
        one, two, three, four = model.convs
        x = F.avg_pool2d(two(one(x).relu()).relu(), 2)
        x = four(F.avg_pool2d(three(x).relu(), 2)).relu()
        expected = x.flatten(1) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(None, grid), expected, rtol=1e-5, atol=1e-5)


def test_the_scale_is_flat_for_pictures_of_the_natural_spectrum(model) -> None:
    """|c| = 1 / (1 + u + v) comes out as one value everywhere below the high band, zero beyond."""
    order = torch.arange(model.bands.rows).float()
    natural = 1 / (1 + order[:, None] + order[None, :])
    level = model.scaled(natural.expand(1, 3, -1, -1))
    inside = (order[:, None] + order[None, :]) < 32
    assert level[:, :, inside].abs().max() < 0.1 and not level[:, :, ~inside].any()


def test_what_it_cannot_take_is_refused_in_words(model) -> None:
    with pytest.raises(ModelError, match=r"expected coefficients \(B, T, 3, 32, 32\)"):
        model(None, torch.zeros(1, 1, 3, 16, 16))
    with pytest.raises(ModelError, match="give coefficients, or a clip"):
        model(None)
    with pytest.raises(ModelError, match="side 16 leaves nothing to pool"):
        create_model("dct_cnn", side=16)
