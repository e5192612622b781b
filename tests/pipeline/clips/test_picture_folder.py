"""Folders of face pictures named in a manifest show what extraction would have seen of them."""

from __future__ import annotations

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.drawn_videos import draw_picture
from unmask.pipeline.clips.picture_folder import PictureClips
from unmask.pipeline.config import CropConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.errors import CacheError

SMALL = CropConfig(clips=1, frames=3, size=96)


def folder_of(root: Path, pictures: list[np.ndarray], suffix: str = ".png") -> Path:
    (root / "f").mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(root / "f" / f"{number}{suffix}"), picture[..., ::-1])
    return root / "f"


def extracted(folder: Path) -> np.ndarray:
    """(3, H, W, 3) uint8: the first three pictures on the road of extraction."""
    info = scan(folder, Limits())
    return next(decode_clips(folder, info, np.array([[0, 1, 2]]))).pixels


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_both_roads_read_a_picture_alike(tmp_path: Path, suffix: str) -> None:
    folder = folder_of(tmp_path, [draw_picture(n, 96, 96) for n in range(3)], suffix)
    np.testing.assert_array_equal(PictureClips(folder, SMALL).read_crops([0])[0], extracted(folder))


def test_sixteen_bit_pictures_are_no_noise(tmp_path: Path) -> None:
    wide = [draw_picture(n, 96, 96).astype(np.uint16) * 257 + 91 for n in range(3)]
    folder = folder_of(tmp_path, wide)
    (clip,) = PictureClips(folder, SMALL).read_crops([0])
    assert np.abs(clip - np.stack(wide) / 257).max() <= 2
    np.testing.assert_array_equal(clip, extracted(folder))


@pytest.mark.parametrize("orientation, turns", [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_kept(tmp_path: Path, orientation: int, turns: int) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "f").mkdir()
    for number in range(3):
        picture = image.fromarray(draw_picture(number, 96, 96))
        picture.save(tmp_path / "f" / f"{number}.jpg", exif=exif, quality=95)
    (clip,) = PictureClips(tmp_path / "f", SMALL).read_crops([0])
    expected = np.stack([np.rot90(draw_picture(number, 96, 96), turns) for number in range(3)])
    assert np.abs(clip.astype(int) - expected).mean() < 8
    np.testing.assert_array_equal(clip, extracted(tmp_path / "f"))


def test_face_crops_of_different_sizes_are_resized_each_by_its_own(tmp_path: Path) -> None:
    sides = (20, 96, 250)
    folder = folder_of(tmp_path, [np.full((side, side, 3), side, np.uint8) for side in sides])
    (clip,) = PictureClips(folder, SMALL).read_crops([0])
    assert [int(picture.mean()) for picture in clip] == list(sides)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path, media: Path) -> None:
    path = media / "faults" / "bomb30000.png"
    if not path.is_file():
        pytest.skip("the media folder has no faults/bomb30000.png")
    (tmp_path / "f").mkdir()
    for number in range(3):
        (tmp_path / "f" / f"{number}.png").symlink_to(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CacheError, match=r"too_large: '0\.png' is 30000x30000 px"):
        PictureClips(tmp_path / "f", SMALL).read_crops([0])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # KiB; decoded it takes 3.1 GiB


def test_a_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="without PNG or JPEG pictures; take it off"):
        PictureClips(tmp_path)
