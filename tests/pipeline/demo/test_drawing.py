"""Drawn people: the real detector finds them, a fake lies on its original, and the files are real
H.264.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from unmask.pipeline.config import CropConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.faces.detector import build_detector


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_mtcnn_finds_almost_every_drawn_person_after_h264(tmp_path: Path) -> None:
    detector = build_detector(CropConfig())
    found = []
    for seed in range(12):
        path = tmp_path / f"{seed}.mp4"
        encode_video(
            path, [picture for picture, _ in draw_frames(draw_identity(seed), 3, seed=seed)]
        )
        found.append(len(detector.detect(decoded(path)[1])) == 1)
    assert sum(found) >= 11


def test_a_fake_is_its_original_outside_the_forged_region() -> None:
    who, donor = draw_identity(1), draw_identity(2)
    real = [p.astype(int) for p, _ in draw_frames(who, 4, (320, 240), seed=9)]
    fake = list(draw_frames(who, 4, (320, 240), seed=9, forgery=Forgery(donor)))
    for original, (picture, mask) in zip(real, fake, strict=True):
        difference = np.abs(original - picture).max(axis=2)
        assert difference[mask == 0].max() <= 1  # a mask of 0 is below half a level
        assert difference[mask == 255].mean() > 3


def test_only_the_forged_region_flickers() -> None:
    still = Forgery(draw_identity(2), flicker=0.0, jitter=0.0)
    wild = Forgery(draw_identity(2), flicker=0.3, jitter=0.0)
    gains = []
    for forgery in (still, wild):
        frames = draw_frames(draw_identity(1), 12, (320, 240), seed=9, forgery=forgery)
        gains.append(np.std([picture[mask == 255].mean() for picture, mask in frames]))
    assert gains[1] > 5 * gains[0]


def test_the_same_seed_draws_the_same_picture_and_another_seed_another() -> None:
    one, same, other = (
        next(draw_frames(draw_identity(1), 1, (160, 120), seed=s))[0] for s in (3, 3, 4)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert draw_identity(5) == draw_identity(5) != draw_identity(6)


@pytest.mark.parametrize(("suffix", "name"), [(".mp4", "h264"), (".mkv", "h264")])
def test_the_file_is_whole_real_video(suffix: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    assert encode_video(path, (p for p, _ in draw_frames(draw_identity(1), 7, (160, 120)))) == 7
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == name
    assert len(decoded(path)) == 7
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
