"""Statistics of crops against pictures whose answer is known: flat, noisy, blurred, darkened."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support.tiny_cache import make_cache
from unmask.pipeline.clips.looks import NOTICED, looks_of, looks_of_clips, looks_of_videos
from unmask.pipeline.clips.readers import find_videos, open_reader

NAMES = list(NOTICED)


def look(picture: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, looks_of(picture[None])[0].tolist(), strict=True))


def textured(seed: int = 0, side: int = 128) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(30, 220, (64, 64, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def test_a_flat_grey_picture_has_only_brightness() -> None:
    found = look(np.full((64, 64, 3), 90, np.uint8))
    assert found["brightness"] == 90
    assert (found["contrast"], found["colourfulness"], found["sharpness"]) == (0, 0, 0)
    assert found["noise"] == pytest.approx(np.log2(0.1))


@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_noise_is_the_standard_deviation_that_was_added(sigma: float) -> None:
    grain = np.random.default_rng(1).normal(0, sigma, (256, 256, 1))
    found = look((np.full((256, 256, 3), 128.0) + grain).round().clip(0, 255).astype(np.uint8))
    assert 2 ** found["noise"] == pytest.approx(sigma, rel=0.1)


def test_blur_darkness_and_lost_colour_each_move_their_own_number() -> None:
    picture = textured()
    whole = look(picture)
    assert look(cv2.GaussianBlur(picture, (0, 0), 4))["sharpness"] < whole["sharpness"] - 1
    assert look(picture // 2)["brightness"] == pytest.approx(whole["brightness"] / 2, abs=1)
    grey = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert look(grey)["colourfulness"] == 0
    assert look(grey)["brightness"] == pytest.approx(whole["brightness"], abs=0.1)


def test_videos_are_read_from_the_cache_and_bounded(tmp_path) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 3})
    readers = [open_reader(f) for f in find_videos(manifests / "train.txt", cache).folders]
    found = looks_of_videos(readers)
    assert found.shape == (6, len(NAMES))
    clips = looks_of_clips(readers[0].read_crops([1, 2]))
    assert found[0] == pytest.approx(np.median(clips, axis=0))
    assert looks_of_videos(readers * 60).shape == (200, len(NAMES))
