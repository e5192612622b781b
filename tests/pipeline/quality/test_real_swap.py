"""A face swapped by roop in a real clip, beside the same frames of the clip: values that are
plausible, in the order they must have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.quality.flow import dis
from unmask.pipeline.quality.masks import difference_mask
from unmask.pipeline.quality.similarity import mask_ssim
from unmask.pipeline.quality.warping import motion_of, warp_error

FRAMES = np.arange(4)[None]


def face_of(path: Path) -> np.ndarray:
    """(4, 608, 608, 3): the square around the changed face, at the clip's own scale."""
    info = scan(path, Limits())
    (clip,) = decode_clips(path, info, FRAMES)
    return clip.pixels[:, 8:616, 419:1027]


def test_a_real_face_swap_lies_between_its_original_and_another_picture(media) -> None:
    true = face_of(media / "videos" / "pair_real_car_1080p.mp4")
    fake = face_of(media / "videos" / "pair_fake_roop_car_1080p.mp4")
    mask = difference_mask(true[0], fake[0])
    assert 0.6 < mask_ssim(true[0], fake[0], mask) < 0.9
    assert 0.9 < mask_ssim(true[0], fake[0], np.ones_like(mask)) < 0.97
    flow = dis()
    errors = []
    for t in range(3):
        its, own = (motion_of(flow, v[t], v[t + 1]) for v in (true, fake))
        assert its.visible.mean() > 0.8
        errors.append(
            [
                warp_error(true[t], true[t + 1], its),
                warp_error(fake[t], fake[t + 1], own),
                warp_error(fake[t], fake[t + 1], its),
            ]
        )
    original, own_flow, original_flow = np.mean(errors, axis=0)
    assert 1 < original < own_flow < original_flow < 6
    assert original_flow == pytest.approx(3.2, abs=1.2)
