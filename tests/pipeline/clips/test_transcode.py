"""Real encoders give back what they were given, worse the higher the factor, twice the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.drawn_videos import draw_picture
from unmask.pipeline.clips import transcode as tc
from unmask.pipeline.errors import UsageError

FRAMES = np.stack([draw_picture(number, 176, 100) for number in range(6)])


def psnr(shown: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((shown.astype(float) - FRAMES) ** 2))


@pytest.mark.parametrize("name", tc.ENCODERS)
def test_a_higher_factor_is_worse_and_a_second_run_the_same(name: str) -> None:
    if why := tc.lacking(name):
        pytest.skip(why)
    fine, again, coarse = (tc.transcode(FRAMES, tc.Coding(name, crf), 25) for crf in (15, 15, 48))
    assert fine.shape == FRAMES.shape and fine.dtype == np.uint8
    assert np.array_equal(fine, again)
    assert psnr(fine) > 28 and psnr(fine) > psnr(coarse) + 2
    # The pictures come back in their order: each is nearest to itself.
    error = ((fine[:, None].astype(float) - FRAMES[None]) ** 2).mean((2, 3, 4))
    assert error.argmin(1).tolist() == list(range(6))


def test_two_passes_spend_the_rate_and_are_the_same_twice() -> None:
    low, again, high = (
        tc.transcode(FRAMES, tc.Coding("H.264", bits=bits, profile="baseline"), 25)
        for bits in (60_000, 60_000, 900_000)
    )
    assert np.array_equal(low, again)
    assert psnr(high) > psnr(low) + 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("H.264", 52), "crf 52 is outside 0..51"),
        (("VP9", 64), "crf 64 is outside 0..63"),
        (("AV1",), "either a constant rate factor or a bit rate"),
        (("H.264", 20, 1000), "either"),
        (("H.265", None, 1000), "are H.264's"),
    ],
)
def test_an_encoding_that_cannot_be_is_one_line(words: tuple, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        tc.Coding(*words)


def test_an_encoder_that_pyav_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tc.ENCODERS, "AV1", replace(tc.ENCODERS["AV1"], library="libaom-none"))
    with pytest.raises(UsageError, match=r"PyAV \S+ has no AV1 encoder \(libaom-none\)"):
        tc.transcode(FRAMES, tc.Coding("AV1", 40), 25)
    assert not tc.lacking("H.264")
