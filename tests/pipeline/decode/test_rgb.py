"""Colours against the formulas of the standards, and pictures the right way up."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.drawn_videos import Recipe, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.errors import VideoError

LIMITS = Limits()
WIDTH, HEIGHT = 160, 120
MATRICES = {"601": (0.299, 0.114, 6), "709": (0.2126, 0.0722, 1)}  # Kr, Kb, AVCOL_SPC


def soft_picture() -> NDArray[np.float64]:
    """RGB that changes by under half a level a pixel, so that how chroma is interpolated hardly
    matters.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([60 + x * 0.45, 200 - y * 0.45, 90 + (x + y) * 0.25], axis=-1)


def yuv_planes(
    rgb: NDArray[np.float64], matrix: str, full: bool, bits: int
) -> list[NDArray[np.float64]]:
    """ITU-R BT.601-7 / BT.709-6: Y'CbCr code values of R'G'B' in 0..255."""
    red, blue, _ = MATRICES[matrix]
    r, g, b = (rgb[..., channel] / 255 for channel in range(3))
    luma = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    top, step = (1 << bits) - 1, 1 << (bits - 8)
    if full:
        return [luma * top, u * top + 128 * step, v * top + 128 * step]
    return [(luma * 219 + 16) * step, (u * 224 + 128) * step, (v * 224 + 128) * step]


def yuv_frame(name: str, matrix: str = "601", full: bool = False) -> av.VideoFrame:
    bits = 10 if "10" in name else 8
    planes = yuv_planes(soft_picture(), matrix, full, bits)
    if "420" in name:
        planes[1:] = [
            plane.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3)) for plane in planes[1:]
        ]
    elif "422" in name:
        planes[1:] = [plane.reshape(HEIGHT, WIDTH // 2, 2).mean(2) for plane in planes[1:]]
    if "gray" in name:
        planes = planes[:1]
    if "yuva" in name:
        planes.append(np.full((HEIGHT, WIDTH), 90.0))
    frame = av.VideoFrame(WIDTH, HEIGHT, name)
    for plane, values in zip(frame.planes, planes, strict=True):
        kind = np.uint16 if bits > 8 else np.uint8
        stored = np.zeros((plane.height, plane.line_size // kind().itemsize), kind)
        stored[:, : values.shape[1]] = np.rint(values).clip(0, (1 << bits) - 1)
        plane.update(stored.tobytes())
    frame.colorspace, frame.color_range = MATRICES[matrix][2], 2 if full else 1
    return frame


def decode_one(path: Path) -> NDArray[np.float64]:
    info = scan(path, LIMITS)
    return next(decode_clips(path, info, np.array([[0]]))).pixels[0].astype(np.float64)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(
    "name", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"]
)
def test_colours_follow_the_matrix_and_range_of_the_file(
    name: str, matrix: str, full: bool, tmp_path: Path
) -> None:
    recipe = Recipe(codec="ffv1", suffix=".mkv", pixels=name, frames=2)
    path = write_video(tmp_path / "v.mkv", recipe, [yuv_frame(name, matrix, full)] * 2)
    error = np.abs(decode_one(path) - soft_picture())
    # Plain 4:2:0 takes swscale's fast path; everything else is exact up to the rounding of Y, U and
    # V themselves.
    assert error.max() <= (4 if name == "yuv420p" else 2.3)
    assert error.mean() <= (1.5 if name == "yuv420p" else 0.6)


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_colours_of_h264_as_cameras_and_benchmarks_write_it(name: str, tmp_path: Path) -> None:
    recipe = Recipe(pixels=name, frames=2, options={"qp": "0"})
    path = write_video(tmp_path / "v.mp4", recipe, [yuv_frame(name, "709")] * 2)
    assert np.abs(decode_one(path) - soft_picture()).max() <= (4 if name == "yuv420p" else 2.3)


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    recipe = Recipe(codec="ffv1", suffix=".mkv", pixels="yuva420p", frames=2)
    path = write_video(tmp_path / "v.mkv", recipe, [yuv_frame("yuva420p")] * 2)
    assert np.abs(decode_one(path) - soft_picture()).max() <= 2.3


@pytest.mark.parametrize(
    "codec, name, suffix",
    [("libx264rgb", "rgb24", ".mp4"), ("ffv1", "gbrp10le", ".mkv"), ("ffv1", "bgra", ".mkv")],
)
def test_rgb_videos_come_back_exactly(codec: str, name: str, suffix: str, tmp_path: Path) -> None:
    options = {"crf": "0"} if codec == "libx264rgb" else {}
    path = write_video(
        tmp_path / f"v{suffix}",
        Recipe(codec, suffix, name, frames=2, options=options),
        rgb_frames(2),
    )
    assert np.array_equal(decode_one(path), np.rint(soft_picture()))


def rgb_frames(count: int, picture: NDArray[np.float64] | None = None) -> list[av.VideoFrame]:
    picture = soft_picture() if picture is None else picture
    frames = [
        av.VideoFrame.from_ndarray(np.rint(picture).astype(np.uint8), format="rgb24")
        for _ in range(count)
    ]
    for frame in frames:
        frame.colorspace = 0  # AVCOL_SPC_RGB
    return frames


@pytest.mark.parametrize("name", ["gray", "gray10le"])
def test_gray_is_equal_in_all_channels(name: str, tmp_path: Path) -> None:
    recipe = Recipe(codec="ffv1", suffix=".mkv", pixels=name, frames=2)
    frame = yuv_frame(name, full=True)
    path = write_video(tmp_path / "v.mkv", recipe, [frame] * 2)
    picture = decode_one(path)
    assert (np.ptp(picture, axis=-1) == 0).all()
    luma = soft_picture() @ [0.299, 0.587, 0.114]
    assert np.abs(picture[..., 0] - luma).max() <= 2


@pytest.mark.parametrize("size", [(162, 118), (150, 66), (98, 130)])
def test_sizes_that_no_block_divides(size: tuple[int, int], tmp_path: Path) -> None:
    info = scan(write_video(tmp_path / "v.mp4", Recipe(size=size, frames=3)), LIMITS)
    assert (info.width, info.height) == size
    odd = write_video(tmp_path / "w.mp4", Recipe(size=(161, 119), pixels="yuv444p", frames=3))
    assert decode_one(odd).shape == (119, 161, 3)


def corner_picture() -> NDArray[np.float64]:
    """Red top left, green top right, blue bottom left, white bottom right."""
    picture = np.zeros((HEIGHT, WIDTH, 3))
    top, left = np.s_[: HEIGHT // 2], np.s_[: WIDTH // 2]
    bottom, right = np.s_[HEIGHT // 2 :], np.s_[WIDTH // 2 :]
    picture[top, left], picture[top, right] = (255, 0, 0), (0, 255, 0)
    picture[bottom, left], picture[bottom, right] = (0, 0, 255), (255, 255, 255)
    return picture


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    "degrees, corners", [(0, "rgbw"), (90, "gwrb"), (180, "wbgr"), (270, "brwg")]
)
def test_turned_videos_come_out_upright(
    degrees: int, corners: str, planned: bool, tmp_path: Path
) -> None:
    """`degrees` counter-clockwise bring the stored picture upright; corners in reading order."""
    recipe = Recipe(
        "libx264rgb",
        ".mp4",
        "rgb24",
        frames=4,
        options={"crf": "0"},
        rotation=(degrees, False, False),
    )
    path = write_video(tmp_path / "v.mp4", recipe, rgb_frames(4, corner_picture()))
    info = scan(path, LIMITS, planned=planned)
    assert info.rotation == degrees
    assert (info.width, info.height) == ((HEIGHT, WIDTH) if degrees % 180 else (WIDTH, HEIGHT))
    picture = next(decode_clips(path, info, np.array([[0, 1, 2]]))).pixels[1]
    assert picture.shape == (info.height, info.width, 3)
    colours = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    seen = picture[3, 3], picture[3, -4], picture[-4, 3], picture[-4, -4]
    assert [tuple(colour) for colour in seen] == [colours[corner] for corner in corners]


@pytest.mark.parametrize(
    "rotation",
    [(0, True, False), (0, False, True), (90, True, False), (45, False, False), (91, False, False)],
)
@pytest.mark.parametrize("planned", [True, False])
def test_mirrors_and_odd_angles_are_refused(rotation: tuple, planned: bool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe(frames=4, rotation=rotation))
    with pytest.raises(VideoError) as caught:
        scan(path, LIMITS, planned=planned)
    assert caught.value.reason == "unsupported_rotation"


def test_the_real_phone_video_stands_upright(media: Path) -> None:
    """Its face box on frame 0 was measured on the displayed picture: skin is there, and lighter
    than the border.
    """
    path = media / "videos" / "derived_rot90_displaymatrix.mp4"
    info = scan(path, LIMITS)
    assert (info.width, info.height, info.rotation) == (360, 640, 270)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_image().rotate(-90, expand=True)
    assert np.abs(decode_one(path) - np.asarray(stored, np.float64)).mean() < 0.5


def test_the_time_base_is_kept_exactly(tmp_path: Path) -> None:
    """30000/1001 frames a second: seconds are pts times the time base, not index over a rounded
    rate.
    """
    path = tmp_path / "v.mp4"
    rate = Fraction(30000, 1001)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, frame in enumerate(rgb_frames(30)):
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = scan(path, LIMITS)
    assert info.fps == pytest.approx(30000 / 1001)
    assert np.allclose(info.pts, np.arange(30) * 1001 / 30000, atol=1e-9)
