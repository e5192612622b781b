"""PQ and HLG pictures look as their SDR twins do: against the standards' numbers, and a film."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.drawn_videos import draw_picture
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.tone_map import HLG, PQ, to_bt709

BT2020 = 9
# Light in cd/m2 -> PQ code value (ITU-R BT.2408, table 1).
PQ_OF_LIGHT = {0: 0.0, 26: 0.38, 203: 0.58}
TO_2020 = np.array(  # ITU-R BT.2087, table 2
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)


def grey(code: float) -> np.ndarray:
    return np.full((4, 4, 3), round(65535 * code), np.uint16)


@pytest.mark.parametrize("light, code", PQ_OF_LIGHT.items())
def test_pq_light_gets_the_level_of_a_gamma_screen(light: int, code: float) -> None:
    expected = 255 * (light / 203) ** (1 / 2.4)
    level = to_bt709(grey(code), PQ, BT2020)
    assert level.dtype == np.uint8 and level.shape == (4, 4, 3)
    # The table gives whole per cent; white itself lies in the roll-off.
    assert np.abs(level.astype(float) - expected).max() <= (9 if light == 203 else 4)


def test_hlg_reference_white_is_white_and_skin_is_skin() -> None:
    """BT.2408, tables 1 and 2: 75 % is 203 cd/m2; 45 % is darker skin, about 38 cd/m2."""
    assert 245 <= to_bt709(grey(0.75), HLG, BT2020)[0, 0, 0] <= 255
    skin = int(to_bt709(grey(0.45), HLG, BT2020)[0, 0, 0])
    assert abs(skin - 255 * (38 / 203) ** (1 / 2.4)) < 12


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_more_light_is_never_darker_and_never_wraps(transfer: int) -> None:
    ramp = np.repeat(np.arange(0, 65536, 64, dtype=np.uint16)[None, :, None], 3, axis=2)
    levels = to_bt709(ramp, transfer, BT2020).astype(int)
    assert (np.diff(levels[0, :, 0]) >= 0).all() and levels.max() == 255 and levels.min() == 0


def test_a_neutral_grey_stays_neutral() -> None:
    for code in (0.2, 0.4, 0.6, 0.9):
        level = to_bt709(grey(code), PQ, BT2020)[0, 0].astype(int)
        assert np.ptp(level) <= 1


def pq_codes(picture: np.ndarray) -> np.ndarray:
    """An SDR picture as a mastering studio puts it into PQ: white at 203 cd/m2 (BT.2408)."""
    light = (picture / 255.0) ** 2.4 @ TO_2020.T * 203 / 10000
    power = np.power(light, 2610 / 16384)
    ratio = (3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)
    return np.rint(65535 * ratio ** (2523 / 32)).astype(np.uint16)


def test_a_pq_film_looks_like_its_sdr_twin(tmp_path: Path) -> None:
    path, pictures = tmp_path / "v.mp4", [draw_picture(n, 160, 120) // 2 + 40 for n in range(8)]
    told = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": told, "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p10le"
        for picture in pictures:
            coded = av.VideoFrame.from_ndarray(pq_codes(picture), format="rgb48le")
            coded = coded.reformat(format="yuv420p10le", dst_colorspace=9)
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))
    info = scan(path, Limits())
    assert (info.transfer, info.primaries, info.matrix) == ("smpte2084", "bt2020", "bt2020")
    assert "high_range" in info.flags and not info.full_range
    (clip,) = decode_clips(path, info, np.arange(8)[None])
    twin = np.stack(pictures).astype(float)
    seen = clip.pixels.astype(float)
    assert np.abs(seen.mean((0, 1, 2)) - twin.mean((0, 1, 2))).max() < 8
    assert np.abs(seen.std((0, 1, 2)) / twin.std((0, 1, 2)) - 1).max() < 0.15
    assert np.array_equal(clip.part(10, 8, 90, 60)[3], clip.pixels[3][8:60, 10:90])
