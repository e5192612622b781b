"""Each distortion does what its name and level say, measured on pictures whose answer is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation import robustness as rb


def picture(side: int = 64, frames: int = 3) -> np.ndarray:
    """Smooth colours with fine stripes, (T,S,S,3)."""
    y, x = np.mgrid[:side, :side] / side
    base = (
        np.stack([80 + 100 * x, 60 + 120 * y, 160 - 80 * x * y], -1)
        + 12 * np.sin(x * 40)[..., None]
    )
    return np.stack([np.roll(base, t, axis=1) for t in range(frames)]).clip(0, 255).astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("kind", "level"), list(rb.steps()), ids=lambda v: getattr(v, "name", None)
)
def test_shape_type_and_repeatability(kind: rb.Perturbation, level: int) -> None:
    clip = picture()
    before = clip.copy()
    first, second = (rb.distort(clip, kind, level, rng()) for _ in range(2))
    assert first.shape == clip.shape and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(clip, before), "the input must stay as it was"
    assert not np.array_equal(first, clip)


@pytest.mark.parametrize("kind", rb.PERTURBATIONS.values(), ids=lambda kind: kind.name)
def test_a_higher_level_is_farther_from_the_original(kind: rb.Perturbation) -> None:
    clip = picture()
    error = [
        np.mean((rb.distort(clip, kind, level, rng()).astype(float) - clip) ** 2)
        for level in range(1, 6)
    ]
    assert error == sorted(error) and error[4] > error[0] > 0


def test_saturation_zero_is_the_luma_of_bt601() -> None:
    clip = picture()
    grey = rb.saturation(clip, 0.0, rng())
    assert np.array_equal(grey[..., 0], grey[..., 2])
    luma = clip.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - luma).max() <= 0.51


def test_contrast_multiplies_the_levels() -> None:
    assert np.abs(rb.contrast(picture(), 0.35, rng()) - 0.35 * picture()).max() <= 0.51


def test_blocks_are_grey_squares_of_eight_in_proportion_to_the_area() -> None:
    white = np.full((1, 256, 256, 3), 255, np.uint8)
    out = rb.blocks(white, 16, rng())
    assert set(np.unique(out)) == {128, 255}
    assert 10 * 64 <= (out[0, ..., 0] == 128).sum() <= 16 * 64  # a few may overlap
    small = rb.blocks(np.full((1, 128, 128, 3), 255, np.uint8), 16, rng())
    assert 0 < (small[0, ..., 0] == 128).sum() <= 4 * 64


def test_noise_has_the_variance_it_says() -> None:
    grey = np.full((4, 128, 128, 3), 128, np.uint8)
    out = rb.noise(grey, 0.001, rng()).astype(float) - 128
    luma = out @ [0.299, 0.587, 0.114]
    assert luma.std() == pytest.approx(np.sqrt(0.001) * 255 * 255 / 219, rel=0.03)
    assert abs(luma.mean()) < 0.2
    blue = (out[..., 2] - luma) / 1.772
    assert blue.std() == pytest.approx(np.sqrt(0.001) * 255 * 255 / 224, rel=0.03)


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    point = np.zeros((1, 65, 65, 3), np.uint8)
    point[0, 32, 32] = 255
    out = rb.blur(point, 13, rng())[0, 32, :, 0].astype(float)
    x = np.arange(65) - 32
    sigma = 13 / 6
    expected = 255 * np.exp(-(x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    assert np.abs(out - expected).max() < 1.0


def test_shrinking_by_two_removes_a_chequerboard() -> None:
    y, x = np.mgrid[:64, :64]
    board = np.repeat((((y + x) % 2) * 255).astype(np.uint8)[None, ..., None], 3, -1)
    assert np.abs(rb.shrink(board, 2, rng()).astype(float) - 127.5).max() <= 0.51


def test_the_subset_takes_both_classes_evenly() -> None:
    label = np.array([0] * 30 + [1] * 200)
    chosen = rb.subset(label, 10)
    assert (label[chosen] == 0).sum() == 10 and (label[chosen] == 1).sum() == 10
    assert chosen[0] == 0 and chosen[-1] == 229
    assert len(rb.subset(label, 0)) == 230
    assert (label[rb.subset(label, 50)] == 0).sum() == 30


def dark(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return (clip * amount).astype(np.uint8)


@pytest.mark.parametrize(
    "wrong",
    [
        rb.Perturbation("VC", "other", (1.0,), dark, "somebody"),
        rb.Perturbation("X", "block-wise", (1.0,), dark, "somebody"),
        rb.Perturbation("X", "x", (), dark, "somebody"),
        rb.Perturbation("", "x", (1.0,), dark, "somebody"),
    ],
)
def test_a_perturbation_that_cannot_have_a_row_is_refused(wrong: rb.Perturbation) -> None:
    before = dict(rb.PERTURBATIONS)
    with pytest.raises(UsageError, match="of somebody"):
        rb.add_perturbation(wrong)
    assert before == rb.PERTURBATIONS


def raises(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    if amount > 1:
        raise KeyError("lost")
    return clip.copy()


@pytest.mark.parametrize(
    ("apply", "why"),
    [
        (raises, "level 2: KeyError: 'lost'"),
        (lambda clip, amount, rng: clip[:, ::2], "level 1: ValueError: expected a clip"),
        (lambda clip, amount, rng: clip / 255, "level 1: ValueError: .* float64"),
        (lambda clip, amount, rng: None, "level 1: ValueError: .* got None"),
    ],
)
def test_a_failing_perturbation_of_somebody_else_is_found_before_scoring(
    monkeypatch: pytest.MonkeyPatch, apply: rb.Distortion, why: str
) -> None:
    broken = rb.Perturbation("BAD", "bad", (1.0, 2.0), apply, "somebody")
    monkeypatch.setitem(rb.PERTURBATIONS, "BAD", broken)
    found = rb.failing(picture())
    assert set(found) == {"BAD"} and re.search(why, found["BAD"])
