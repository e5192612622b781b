"""Quantisers, grids, logos and earlier compressions of drawn clips whose truth is known."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, draw_picture, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.facts import facts_of, period_of
from unmask.pipeline.decode.frame_facts import frame_facts_of, frame_numbers_of, quantiser_of

SIZE = (192, 144)


def scene(number: int, seed: int = 0) -> np.ndarray:
    """A smooth drifting texture with a little grain: nothing in it is of period 8, or stays."""
    rng = np.random.default_rng([seed, number])
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(float)
    waves = np.sin((x + 5 * number) / 9.7 + y / 13.1) + np.sin(x / 23.3 - (y - 3 * number) / 7.9)
    picture = 120 + 40 * waves[..., None] * [1, 0.8, 0.6] + rng.normal(0, 3, (*SIZE[::-1], 3))
    return picture.clip(0, 255).astype(np.uint8)


def encode(path: Path, pictures: list[np.ndarray], codec: str = "libx264", **options: str) -> Path:
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
    recipe = Recipe(codec=codec, frames=len(frames), size=SIZE, options=options)
    return write_video(path, recipe, frames)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_a_coarser_file_has_a_higher_quantiser(tmp_path: Path, codec: str) -> None:
    if codec == "mpeg4":
        words = [{"qmin": q, "qmax": q} for q in ("3", "20")]
    else:
        words = [{"crf": crf, "b": "0"} for crf in ("15", "45")]
    pictures = [scene(n) for n in range(8)]
    suffix = ".webm" if codec == "libvpx-vp9" else ".mp4"
    fine, coarse = (
        quantiser_of(encode(tmp_path / f"{n}{suffix}", pictures, codec, **w), Limits())
        for n, w in enumerate(words)
    )
    for name in ("quantiser", "quantiser of others"):
        assert coarse[name] > 1.5 * fine[name] > 0, name
    # FFmpeg leaves a file alone whose other facts say as much: those of key frames come first.
    assert fine["quantiser of key frames"] < coarse["quantiser of key frames"]


def test_x264s_quantiser_is_the_one_it_was_told(tmp_path: Path) -> None:
    pictures = [scene(n) for n in range(6)]
    made = encode(tmp_path / "a.mp4", pictures, qp="27", bf="0", **{"x264-params": "ipratio=1"})
    found = quantiser_of(made, Limits())
    assert found["quantiser"] == pytest.approx(27, abs=0.01)
    assert found["quantiser spread"] == pytest.approx(0, abs=0.01)


def test_where_no_quantiser_is_told_bits_of_the_kinds_of_pictures_are(tmp_path: Path) -> None:
    pictures = [scene(n) for n in range(6)]
    words = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
    made = encode(tmp_path / "a.mp4", pictures, "libx265", crf="28", **words)
    info, facts = frame_facts_of(made, Limits())
    assert info.frames == 6 and set(facts["rate"].values()) == {None}
    rate = facts_of(made, Limits())["rate"]
    assert rate["key bits per pixel"] > rate["other bits per pixel"] > 0
    both = rate["key bits per pixel"], rate["other bits per pixel"]
    assert both[0] / both[1] == pytest.approx(rate["key to other"])


def test_an_earlier_encoders_key_frames_show_in_the_packets(tmp_path: Path) -> None:
    pictures = [scene(n) for n in range(96)]
    plain = {"bf": "0", "sc_threshold": "0", "preset": "veryfast"}
    first = encode(tmp_path / "first.mp4", pictures, crf="30", g="12", **plain)
    with av.open(str(first)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    twice = encode(tmp_path / "twice.mp4", shown, crf="23", g="250", **plain)
    once = encode(tmp_path / "once.mp4", pictures, crf="23", g="250", **plain)
    told = {path.stem: facts_of(path, Limits())["rate"] for path in (once, twice)}
    assert told["twice"]["period"] == 12
    assert told["twice"]["period strength"] > 1.5 * told["once"]["period strength"]
    assert told["once"]["period"] is None


def test_a_period_needs_packets_and_is_not_believed_by_chance() -> None:
    rng = np.random.default_rng(0)
    assert period_of(rng.lognormal(8, 0.3, 30)) == (None, None)
    chance = [period_of(rng.lognormal(8, 0.3, 200)) for _ in range(40)]
    assert sum(period is not None for period, _ in chance) <= 1
    bits = rng.lognormal(8, 0.05, 200)
    bits[::15] *= 1.5
    assert period_of(bits)[0] == 15


def test_an_earlier_jpeg_leaves_a_comb_and_a_grid() -> None:
    plain = np.stack([scene(n) for n in range(4)])
    squeezed = np.stack(
        [cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1) for p in plain]
    )
    once, twice = frame_numbers_of(plain), frame_numbers_of(squeezed)
    assert twice["comb"] > 0.3 > 0.1 > once["comb"]
    assert twice["frame blockiness"] > 2 * once["frame blockiness"]
    assert twice["grid"] == "0 0" and once["grid"] == "none"
    moved = np.roll(squeezed, (3, 5), axis=(1, 2))
    assert frame_numbers_of(moved)["grid"] == "5 3"


def test_a_logo_stays_in_its_corner_while_all_else_moves() -> None:
    pictures = np.stack([scene(n) for n in range(8)])
    logo = pictures.copy()
    for picture in logo:
        cv2.putText(picture, "TV", (SIZE[0] - 34, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255,) * 3, 2)
    without, having = frame_numbers_of(pictures), frame_numbers_of(logo)
    staying = {name: value for name, value in having.items() if name.endswith("stay")}
    assert max(staying, key=staying.__getitem__) == "top right edges that stay"
    assert having["top right edges that stay"] > 0.04
    assert all(value < 0.002 for name, value in without.items() if name.endswith("stay"))
    assert having["top right level"] > without["top right level"] + 3
    assert having["bottom left level"] == without["bottom left level"]


def test_a_picture_too_small_or_plain_for_it_has_no_answer() -> None:
    tiny = frame_numbers_of(np.full((2, 40, 40, 3), 90, np.uint8))
    assert (
        tiny["comb"] is None
        and tiny["grid"] is None
        and tiny["top left level"] == pytest.approx(90)
    )
    flat = frame_numbers_of(np.full((2, 144, 192, 3), 90, np.uint8))
    assert flat["comb"] is None and flat["grid"] == "none" and flat["frame blockiness"] == 0


def test_frames_that_do_not_decode_leave_the_rest_of_the_facts(tmp_path: Path) -> None:
    pictures = [draw_picture(n, *SIZE) for n in range(12)]
    path = encode(tmp_path / "a.mp4", pictures)
    _, facts = frame_facts_of(path, Limits())
    assert set(facts) == {"frame", "rate"} and facts["frame"]["top left level"] > 0
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:03}.png"), picture[..., ::-1])
    _, of_pictures = frame_facts_of(folder, Limits())
    assert set(of_pictures) == {"frame"}
