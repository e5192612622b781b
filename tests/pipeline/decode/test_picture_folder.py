"""A folder of PNG or JPEG frames is read through the same two functions as a video."""

from __future__ import annotations

import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.drawn_videos import draw_picture
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.picture_folder import list_pictures, read_rgb, stated_size
from unmask.pipeline.decode.planned import PlanBroken
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import spread_clips
from unmask.pipeline.errors import VideoError

LIMITS = Limits()


def save(path: Path, number: int, size: tuple[int, int] = (96, 64)) -> Path:
    """Write the drawn picture; a name without suffix becomes a JPEG as in VidTIMIT."""
    frame = av.VideoFrame.from_ndarray(draw_picture(number, *size), format="rgb24")
    target = path.with_name(path.name + ".jpg") if not path.suffix else path
    frame.save(str(target))
    return target.rename(path)


def draw_folder(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        save(folder / name, number)
    return folder


def test_png_frames_come_back_exactly_and_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "f", [f"frame_{number}.png" for number in range(12)])
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"")
    info = scan(folder, LIMITS)
    assert (info.frames, info.width, info.height, info.codec, info.method) == (
        12,
        96,
        64,
        "png",
        "planned",
    )
    assert info.flags == ("times_from_rate",)
    for clip in decode_clips(folder, info, spread_clips(12, 3, 5)):
        for number, picture in zip(clip.index, clip.pixels, strict=True):
            assert np.array_equal(picture, draw_picture(int(number), 96, 64))
    assert np.allclose(info.pts, np.arange(12) / 25)


def test_jpegs_without_extension_as_vidtimit_names_them(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "head", [f"{number:03d}" for number in range(1, 8)])
    info = scan(folder, LIMITS)
    assert (info.frames, info.codec) == (7, "mjpeg")
    clip = next(decode_clips(folder, info, np.array([[0, 3, 6]])))
    for number, picture in zip(clip.index, clip.pixels, strict=True):
        assert np.abs(picture.astype(int) - draw_picture(int(number), 96, 64)).mean() < 12


def test_gaps_in_the_names_are_gaps_in_time(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "f", ["8.png", "9.png", "10.png", "14.png"])
    info = scan(folder, LIMITS)
    assert np.allclose(info.pts, [0, 0.04, 0.08, 0.24]) and "vfr" in info.flags
    clip = next(decode_clips(folder, info, np.array([[0, 1, 2, 3]])))
    assert clip.index.tolist() == [0, 1, 2, 3]
    assert np.array_equal(clip.pixels[3], draw_picture(3, 96, 64))


@pytest.mark.parametrize("names", [["a.png", "b.png", "c.png"], ["1_7.png", "2_7.png", "3_7.png"]])
def test_names_that_are_no_count_take_their_place(names: list[str], tmp_path: Path) -> None:
    info = scan(draw_folder(tmp_path / "f", names), LIMITS)
    assert np.allclose(info.pts, np.arange(3) / 25) and info.flags == ("times_from_rate",)


def test_a_damaged_picture_breaks_the_plan_and_is_then_left_out(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "f", [f"{number:02d}.png" for number in range(30)])
    data = (folder / "11.png").read_bytes()
    (folder / "11.png").write_bytes(data[: len(data) // 2])
    info = scan(folder, LIMITS)
    with pytest.raises(PlanBroken, match=r"11\.png"):
        list(decode_clips(folder, info, np.array([[10, 11, 12]])))
    info = scan(folder, LIMITS, planned=False, guard="11.png")
    assert info.frames == 29 and {"damaged", "incomplete"} <= set(info.flags)
    assert info.pts[11] == pytest.approx(12 / 25)
    clip = next(decode_clips(folder, info, np.array([[10, 11, 12]])))
    for picture, number in zip(clip.pixels, (10, 12, 13), strict=True):
        assert np.array_equal(picture, draw_picture(number, 96, 64))


def test_too_many_damaged_pictures_are_corrupt(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "f", [f"{number:02d}.png" for number in range(10)])
    (folder / "00.png").write_bytes(b"")
    with pytest.raises(VideoError) as caught:
        scan(folder, LIMITS)
    assert caught.value.reason == "corrupt"


def test_pictures_of_two_sizes_are_a_reason_of_their_own(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "f", ["0.png", "1.png"])
    save(folder / "2.png", 2, (64, 96))
    with pytest.raises(PlanBroken):
        list(decode_clips(folder, scan(folder, LIMITS), np.array([[0, 1, 2]])))
    with pytest.raises(VideoError) as caught:
        scan(folder, LIMITS, planned=False)
    assert caught.value.reason == "mixed_sizes"
    assert "'2.png' is 64x96 px, the first picture 96x64 px" in str(caught.value)


def test_a_frame_as_jpeg_and_as_png_counts_once(tmp_path: Path) -> None:
    names = [f"{number}.{form}" for number in range(6) for form in ("jpg", "png")]
    folder = draw_folder(tmp_path / "f", names)
    assert [path.name for path in list_pictures(folder)] == [f"{n}.png" for n in range(6)]
    (folder / "4.png").unlink()  # now most frames have a JPEG, and all stay
    save(folder / "6.png", 6)
    (folder / "0.png").unlink()
    listed = [path.name for path in list_pictures(folder)]
    assert listed == [*(f"{number}.jpg" for number in range(6)), "6.png"]


def bomb(path: Path, width: int, height: int) -> Path:
    """A small PNG or JPEG that states a giant picture."""
    save(path, 0)
    data = bytearray(path.read_bytes())
    if path.suffix == ".png":
        data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("place", [0, 3])
def test_a_small_file_that_states_a_giant_picture_is_too_large_and_costs_nothing(
    suffix: str, place: int, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "f", [f"{number}{suffix}" for number in range(5)])
    path = bomb(folder / f"{place}{suffix}", 30_000, 30_000)
    assert stated_size(path.read_bytes()) == (30_000, 30_000)
    with pytest.raises(VideoError) as caught:
        scan(folder, LIMITS, planned=False)
    assert caught.value.reason == "too_large" and "30000x30000" in str(caught.value)
    with pytest.raises(VideoError) as caught:
        read_rgb(path, LIMITS)
    assert caught.value.reason == "too_large"


def test_the_size_is_stated_by_progressive_jpegs_and_behind_long_segments(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    plain = image.fromarray(draw_picture(5, 96, 64))
    for number, options in enumerate([{"progressive": True}, {"comment": b"x" * 60_000}]):
        path = tmp_path / f"{number}.jpg"
        plain.save(path, **options)
        assert stated_size(path.read_bytes()) == (96, 64)
    assert stated_size(b"\xff\xd8\xff") == stated_size(b"\xff\xd8" + b"\xff" * 40) == (0, 0)


def test_sixteen_bits_become_eight_within_two_levels(tmp_path: Path) -> None:
    wide = np.random.default_rng(1).integers(0, 65536, (64, 96, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "colour.png"), wide)
    cv2.imwrite(str(tmp_path / "grey.png"), wide[..., 0])
    colour = np.rint(wide[..., ::-1] / 257)
    assert np.abs(read_rgb(tmp_path / "colour.png", LIMITS) - colour).max() <= 2
    assert np.abs(read_rgb(tmp_path / "grey.png", LIMITS) - colour[..., 2:]).max() <= 2


def test_a_folder_without_pictures_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("plain text")
    with pytest.raises(VideoError) as caught:
        scan(tmp_path, LIMITS)
    assert caught.value.reason == "not_a_file"


def test_limits_hold_for_pictures_too(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "f", ["0.png", "1.png", "2.png"])
    for limits, reason in [
        (Limits(max_side=95), "too_large"),
        (Limits(min_side=65), "too_small"),
        (Limits(max_frames=2), "too_large"),
    ]:
        with pytest.raises(VideoError) as caught:
            scan(folder, limits)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "orientation, turned", [(1, 0), (3, 2), (6, 3), (8, 1), (2, None), (5, None)]
)
def test_exif_turns_are_undone_and_mirrors_refused(
    orientation: int, turned: int | None, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "f").mkdir()
    plain = image.fromarray(draw_picture(5, 96, 64))
    plain.save(tmp_path / "f" / "1.jpg", exif=exif, quality=95)
    if turned is None:
        with pytest.raises(VideoError) as caught:
            scan(tmp_path / "f", LIMITS)
        assert caught.value.reason == "unsupported_rotation"
        return
    info = scan(tmp_path / "f", LIMITS)
    picture = next(decode_clips(tmp_path / "f", info, np.array([[0]]))).pixels[0]
    assert np.abs(picture.astype(int) - np.rot90(draw_picture(5, 96, 64), turned)).mean() < 8


def test_real_photographs(media: Path, tmp_path: Path) -> None:
    """Baseline and progressive JPEG against Pillow, within the rounding of two decoders."""
    image = pytest.importorskip("PIL.Image")
    for path in sorted((media / "images").glob("face_*.jpg")):
        folder = tmp_path / path.stem
        folder.mkdir()
        (folder / "001").write_bytes(path.read_bytes())
        picture = next(decode_clips(folder, scan(folder, LIMITS), np.array([[0]]))).pixels[0]
        truth = np.asarray(image.open(path).convert("RGB"), np.int16)
        assert picture.shape == truth.shape and np.abs(picture - truth).mean() < 2.5


@pytest.mark.parametrize("name", ["still.png", "still.jpg"])
def test_a_single_picture_is_a_video_of_one_frame(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, 3)
    info = scan(path, LIMITS)
    assert (info.frames, info.width, info.height, info.container) == (1, 96, 64, "pictures")
    clip = next(decode_clips(path, info, spread_clips(1, 16, 1)))
    assert np.abs(clip.pixels[0].astype(int) - draw_picture(3, 96, 64)).mean() < 4
    with pytest.raises(VideoError, match="--clips 1 --frames 1") as caught:
        spread_clips(1, 16, 5)
    assert caught.value.reason == "too_short"


def test_what_only_is_called_a_picture_is_refused_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a picture at all")
    with pytest.raises(VideoError) as caught:
        scan(tmp_path / "a.jpg", LIMITS)
    assert caught.value.reason in ("not_a_video", "not_a_file")
