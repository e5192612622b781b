"""A video's stretches become scores over time, and what the last stretch added can be asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.batches import batch_of
from unmask.pipeline.config import CropConfig
from unmask.pipeline.prediction.scorer import Scorer
from unmask.pipeline.prediction.timeline import Timeline
from unmask.pipeline.records import Crops
from unmask.pipeline.scores.calibration import DEFAULT

SIDE, LENGTH = 32, 3


def brightness(clip: Tensor, bands: Tensor | None) -> Tensor:
    """(B,T,3,S,S) in 0..1 -> logits (B,2): the mean brightness of a clip, and its opposite."""
    mean = clip.mean(dim=(1, 2, 3, 4))
    return torch.stack([-mean, mean], dim=1)


SCORER = Scorer(
    name="brightness",
    source=Path("run"),
    spec=ClipSpec("consecutive", LENGTH, SIDE),
    crop=CropConfig(size=SIDE, frames=LENGTH),
    calibration=DEFAULT,
    logits=brightness,
    device="cpu",
)


def crops(colour: tuple[int, int, int], left: float, start: float, clips: int = 1) -> Crops:
    """Somebody of one colour, standing at one place, in clips one second apart."""
    pixels = np.broadcast_to(np.array(colour, np.uint8), (clips, LENGTH, SIDE, SIDE, 3)).copy()
    pts = start + np.arange(clips)[:, None] + np.arange(LENGTH) * 0.04
    box = np.tile(np.float32([left, 10, left + 80, 90]), (clips, 1))
    return Crops(
        pixels=pixels,
        index=np.rint(pts * 25).astype(np.int64),
        pts=pts,
        box=box,
        landmark=np.zeros((clips, 5, 2), np.float32),
        prob=np.ones(clips, np.float32),
        transform=np.zeros((clips, 2, 3), np.float32),
        window=np.arange(clips),
        faces=2,
    )


RED, BLUE = (200, 20, 20), (20, 20, 120)


def test_the_newest_points_are_those_of_the_last_stretch_of_everybody_in_it() -> None:
    watch = Timeline([SCORER], batch=4, rule="mean", dense=True)
    assert watch.newest() == []
    watch.add([crops(RED, 10, 0.0, clips=2)])
    assert [point.start for point in watch.newest()] == pytest.approx([0.0, 1.0])
    watch.add([crops(RED, 10, 2.0), crops(BLUE, 300, 2.0, clips=2)])
    newest = watch.newest()
    assert [point.start for point in newest] == pytest.approx([2.0, 2.0, 3.0])
    expected = [2 * sum(colour) / 3 / 255 for colour in (RED, BLUE, BLUE)]
    assert [point.logit for point in newest] == pytest.approx(expected, abs=1e-6)
    watch.add([])
    assert watch.newest() == [], "nobody was seen"
    assert [len(track.points[0]) for _, track in watch.tracks()] == [3, 2]


def test_a_batch_of_pixels_holds_them_and_claims_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, LENGTH, 8, 8, 3), dtype=np.uint8)
    picks = [((4, 0), (4, 1), (4, 2)), ((5, 0), (5, 1), (5, 2))]
    raw = batch_of(pixels, picks)
    assert np.array_equal(raw.pixels.numpy(), pixels) and raw.masks is None
    assert [sample.picks for sample in raw.samples] == picks
    assert raw.label.tolist() == [0, 0] and raw.coefficients is None
