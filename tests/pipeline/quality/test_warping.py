"""E_warp where its value is known without computing it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from unmask.models.weights import WeightsError
from unmask.pipeline.quality.flow import dis, open_flow, raft
from unmask.pipeline.quality.warping import motion, motion_of, warp, warp_error

SIDE = 96


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE, SIDE, 3)), (0, 0), 3)
    return ((smooth - smooth.mean()) * 6 + 120).clip(0, 235).astype(np.uint8)


def constant(x: float, y: float) -> np.ndarray:
    return np.tile([x, y], (SIDE, SIDE, 1))


@pytest.mark.parametrize("shift", [(3, 0), (0, 5), (-4, 7)])
def test_a_picture_moved_by_whole_pixels_costs_nothing_where_it_is_seen(texture, shift) -> None:
    x, y = shift
    moved = np.roll(texture, (y, x), axis=(0, 1))
    known = motion(constant(x, y), constant(-x, -y))
    # what leaves the crop is not seen; everything else is, and is equal
    assert known.visible.sum() == (SIDE - abs(x)) * (SIDE - abs(y))
    assert warp_error(texture, moved, known) == 0.0
    found = motion_of(dis(), texture, moved)
    assert (
        warp_error(texture, moved, found) < 1 < 100 < ((moved - texture.astype(float)) ** 2).mean()
    )
    assert np.abs(np.median(found.flow, axis=(0, 1)) - shift).max() < 0.1


def test_noise_of_known_variance_costs_twice_the_variance(texture) -> None:
    rng, still = np.random.default_rng(1), motion(constant(0, 0), constant(0, 0))
    noisy = [texture + rng.normal(0, 5, texture.shape) for _ in range(2)]
    assert warp_error(*noisy, still) == pytest.approx(50, abs=1.5)
    rounded = [n.round().clip(0, 255).astype(np.uint8) for n in noisy]
    # a flow that is estimated follows a part of the noise
    assert 44 < warp_error(*rounded, motion_of(dis(), *rounded)) < 50.5


def test_equal_frames_cost_nothing_and_a_brighter_one_its_square(texture) -> None:
    assert warp_error(texture, texture, motion_of(dis(), texture, texture)) == 0.0
    flat = np.full_like(texture, 90)
    assert warp_error(flat, flat + 10, motion_of(dis(), flat, flat + 10)) == 100.0
    assert warp_error(texture, texture + 10, motion_of(dis(), texture, texture + 10)) == (
        pytest.approx(100, abs=2)
    )


def test_what_is_hidden_in_the_next_frame_is_not_counted() -> None:
    """A square of 20 px moves 6 px to the right over a still background, and hides 6 columns."""
    back = np.full((SIDE, SIDE, 3), 50, np.uint8)
    back[:, 60:] = 150  # what the square will hide is told apart from it
    one, two = back.copy(), back.copy()
    one[40:60, 30:50] = two[40:60, 36:56] = 220
    there, here = constant(0, 0), constant(0, 0)
    there[40:60, 30:50] = (6, 0)
    here[40:60, 36:56] = (-6, 0)
    known = motion(there, here)
    assert not known.visible[41:59, 50:56].any()  # background that the square covers
    assert known.visible[:30].all() and known.visible[45, 35:45].all()
    assert warp_error(one, two, known) == 0.0
    assert warp_error(one, two, motion(constant(0, 0), constant(0, 0))) > 0


def test_pixels_are_read_between_pixels_bilinearly(texture) -> None:
    rng = np.random.default_rng(2)
    flow = rng.uniform(-3, 3, (SIDE, SIDE, 2))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    at = [(rows + flow[..., 1]).clip(0, SIDE - 1), (columns + flow[..., 0]).clip(0, SIDE - 1)]
    expected = np.stack([map_coordinates(texture[..., c] * 1.0, at, order=1) for c in range(3)], 2)
    np.testing.assert_allclose(warp(texture, flow), expected, atol=1e-9)


def test_a_region_counts_alone_and_an_invisible_one_as_a_whole(texture) -> None:
    still, other = motion(constant(0, 0), constant(0, 0)), texture.copy()
    other[:10] += 20
    top, empty = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    top[:10] = True
    assert warp_error(texture, other, still, top) == 400.0
    assert warp_error(texture, other, still, ~top) == 0.0
    assert warp_error(texture, other, still, empty) is None
    gone = motion(constant(500, 0), constant(-500, 0))
    assert not gone.visible.any() and warp_error(texture, texture, gone, top) > 0


def test_flicker_of_four_levels_up_and_down_costs_eight_squared(texture) -> None:
    frames = [texture + 4 * (1 + (-1) ** t) for t in range(4)]
    frames = [frame.astype(np.uint8) for frame in frames]
    errors = [warp_error(a, b, motion_of(dis(), a, b)) for a, b in pairwise(frames)]
    assert np.mean(errors) == pytest.approx(64, abs=2)


def test_a_flow_without_its_weights_says_which_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"raft_small_C_T_V2-01064c6d.pth at weights"):
        open_flow("raft-small")


@pytest.mark.slow
def test_raft_takes_crops_of_any_side(texture) -> None:
    from torchvision.models.optical_flow import raft_small

    flow = raft(raft_small(weights=None).eval())(texture[:90, :90], texture[:90, :90])
    assert flow.shape == (90, 90, 2) and np.isfinite(flow).all()
