"""A fake is cut when and where its original is, also when it is shorter, shows two people or lies
in pictures.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.pictures_of import save_pictures
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.records import Outcome, Video

CROP = CropConfig(clips=6, frames=3, size=64, pair_boxes=True, bands=False)
CONFIG = ExtractConfig(crop=CROP, jobs=2)
FRAMES, SHORTER = 40, 26


def frames_of(forged: bool, frames: int = FRAMES) -> list[np.ndarray]:
    forgery = Forgery(draw_identity(6)) if forged else None
    return [picture for picture, _ in draw_frames(draw_identity(5), frames, (320, 240), 5, forgery)]


def record(path: Path, name: str, label: int, pair: str | None = None, **facts: object) -> Video:
    return Video("pairs", name, name, path, label, pair=pair, group="one", **facts)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    encode_video(root / "real.mp4", frames_of(False))
    encode_video(root / "fake.mp4", frames_of(True)[:SHORTER])
    return root


def attributes(cache: Path, name: str, crop: CropConfig = CROP) -> dict:
    return open_video(extraction.cache_folder(cache, "pairs", crop) / name).attributes


def run(cache: Path, videos: list[Video], config: ExtractConfig = CONFIG) -> dict[str, Outcome]:
    return {outcome.video_id: outcome for outcome in extraction.extract(videos, config, cache)}


def check_same_place(fake: dict, real: dict) -> None:
    """Every clip of the fake has frames, box and transform of the original's clip of the same
    window.
    """
    place = {window: row for row, window in enumerate(real["window"])}
    rows = [place[window] for window in fake["window"]]
    for name in ("index", "box", "landmark", "transform"):
        assert fake[name] == [real[name][row] for row in rows]


def test_a_shorter_fake_takes_the_windows_of_its_original_that_it_has(
    root: Path, tmp_path: Path
) -> None:
    ended = run(
        tmp_path,
        [record(root / "fake.mp4", "fake", 1, "real"), record(root / "real.mp4", "real", 0)],
    )
    fake, real = attributes(tmp_path, "fake"), attributes(tmp_path, "real")
    check_same_place(fake, real)
    expected = [row for row in real["index"] if row[-1] < SHORTER]
    assert fake["index"] == expected and 0 < len(expected) < len(real["index"]) == 6
    lacking = [
        w for w, row in zip(real["window"], real["index"], strict=True) if row[-1] >= SHORTER
    ]
    assert fake["dropped"] == [[window, "shorter_than_original"] for window in lacking]
    assert ended["fake"].flags == ("fewer_clips",) and ended["fake"].clips == len(expected)


def test_a_fake_with_none_of_its_originals_clips_is_too_short(root: Path, tmp_path: Path) -> None:
    encode_video(tmp_path / "stub.mp4", frames_of(True)[:4])
    crop = replace(CROP, clips=1)
    videos = [
        record(tmp_path / "stub.mp4", "stub", 1, "real"),
        record(root / "real.mp4", "real", 0),
    ]
    ended = run(tmp_path / "cache", videos, replace(CONFIG, crop=crop))
    assert (ended["stub"].status, ended["stub"].reason) == ("skipped", "too_short")


def test_a_fake_without_its_original_is_cut_by_its_own_faces_and_says_so(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = [
        record(root / "fake.mp4", "alone", 1, "elsewhere"),
        record(root / "fake.mp4", "orphan", 1, "broken"),
        record(tmp_path / "broken.mp4", "broken", 0),
    ]
    ended = run(tmp_path / "cache", videos)
    assert ended["alone"].flags == ended["orphan"].flags == ("own_boxes",)
    assert len(attributes(tmp_path / "cache", "alone")["index"]) == 6


def test_a_fake_that_is_stretched_in_time_is_cut_by_its_own_faces(
    root: Path, tmp_path: Path
) -> None:
    stretched = record(root / "fake.mp4", "fake", 1, "real", fake_spans=((0.2, 0.5),))
    assert run(tmp_path, [stretched, record(root / "real.mp4", "real", 0)])["fake"].flags == (
        "own_boxes",
    )


def test_pictures_of_a_fake_pair_with_a_video_by_frame_number(root: Path, tmp_path: Path) -> None:
    """Frames of the fake as the FF++ helper writes them, but numbers 10 to 19 are lost."""
    drawn = {f"{n:04d}.png": p for n, p in enumerate(frames_of(True)) if not 10 <= n < 20}
    folder = save_pictures(tmp_path / "fake", drawn)
    run(
        tmp_path / "cache",
        [record(folder, "fake", 1, "real"), record(root / "real.mp4", "real", 0)],
    )
    fake, real = attributes(tmp_path / "cache", "fake"), attributes(tmp_path / "cache", "real")
    check_same_place(fake, real)
    assert fake["index"] == [row for row in real["index"] if not {*row} & {*range(10, 20)}]


def test_with_two_people_each_is_cut_where_the_original_has_that_person(tmp_path: Path) -> None:
    def both(forged: bool) -> list[np.ndarray]:
        left, right = draw_identity(5), draw_identity(11)
        forgery = Forgery(draw_identity(6)) if forged else None
        ones, others = (
            draw_frames(left, 24, (240, 240), 5, forgery),
            draw_frames(right, 24, (240, 240), 9, face=0.4),
        )
        return [np.hstack([a, b]) for (a, _), (b, _) in zip(ones, others, strict=True)]

    encode_video(tmp_path / "real.mp4", both(False))
    encode_video(tmp_path / "fake.mp4", both(True))
    crop = replace(CROP, clips=3, faces="all")
    videos = [
        record(tmp_path / "fake.mp4", "fake", 1, "real"),
        record(tmp_path / "real.mp4", "real", 0),
    ]
    run(tmp_path / "cache", videos, replace(CONFIG, crop=crop))
    for suffix in ("", "--1"):
        fake, real = (
            attributes(tmp_path / "cache", f"{name}{suffix}", crop) for name in ("fake", "real")
        )
        check_same_place(fake, real)
        assert fake["track"] == real["track"] == int(suffix[2:] or 0)


def test_a_shard_holds_a_fake_together_with_its_original() -> None:
    """Of 40 pairs none is torn apart, whatever their names hash to; without pair boxes some are."""
    videos = [record(Path("x"), f"r{n}", 0) for n in range(40)]
    videos += [replace(record(Path("x"), f"f{n}", 1, f"r{n}"), pair_id=f"r{n}") for n in range(40)]
    for part in (1, 2, 3):
        mine = {v.video_id for v in extraction._own_share(videos, (part, 3), True)}
        assert {name[1:] for name in mine if name[0] == "f"} == {
            name[1:] for name in mine if name[0] == "r"
        }
    plain = {v.video_id for v in extraction._own_share(videos, (1, 3))}
    expected = {
        v.video_id
        for v in videos
        if int(hashlib.sha256(v.video_id.encode()).hexdigest()[:8], 16) % 3 == 0
    }
    assert plain == expected


def crops_of(cache: Path, name: str) -> np.ndarray:
    cached = open_video(extraction.cache_folder(cache, "pairs", CROP) / name)
    return cached.read_crops(range(cached.clips)).astype(float)


@pytest.mark.parametrize("size", [(160, 120), (640, 480), (320, 238)])
def test_a_fake_of_another_size_is_cut_at_the_scaled_boxes(
    size: tuple[int, int], root: Path, tmp_path: Path
) -> None:
    """Half, twice, and two rows less as encoders leave them: the same picture to within coding."""
    resized = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames_of(False)]
    encode_video(tmp_path / "fake.mp4", resized)
    videos = [
        record(tmp_path / "fake.mp4", "fake", 1, "real"),
        record(root / "real.mp4", "real", 0),
    ]
    ended = run(tmp_path / "cache", videos)
    assert ended["fake"].flags == ()
    fake, real = attributes(tmp_path / "cache", "fake"), attributes(tmp_path / "cache", "real")
    assert fake["index"] == real["index"] and fake["window"] == real["window"]
    ratio = np.tile(np.array(size) / (320, 240), 2)
    expected = (np.array(real["box"]) + 0.5) * ratio - 0.5
    np.testing.assert_allclose(fake["box"], expected, atol=1e-3)
    pixels = crops_of(tmp_path / "cache", "fake"), crops_of(tmp_path / "cache", "real")
    assert np.abs(pixels[0] - pixels[1]).mean() < 10


def test_a_fake_of_another_shape_or_scene_is_cut_by_its_own_faces(
    root: Path, tmp_path: Path
) -> None:
    """Cropped at the sides; the same size but moved aside; a fifth of the frames in the same
    time.
    """
    frames = frames_of(True)
    fakes = {
        "cropped": [np.ascontiguousarray(frame[:, 40:280]) for frame in frames],
        "moved": [np.roll(frame, 100, axis=1) for frame in frames],
    }
    for name, pictures in fakes.items():
        encode_video(tmp_path / f"{name}.mp4", pictures)
    encode_video(tmp_path / "resampled.mp4", frames[::5], fps=5)
    names = [*fakes, "resampled"]
    videos = [record(tmp_path / f"{name}.mp4", name, 1, "real") for name in names]
    ended = run(tmp_path / "cache", [*videos, record(root / "real.mp4", "real", 0)])
    for name in names:
        assert "own_boxes" in ended[name].flags, name
        box = np.array(attributes(tmp_path / "cache", name)["box"])
        transform = np.array(attributes(tmp_path / "cache", name)["transform"])
        centre = np.column_stack([(box[:, :2] + box[:, 2:]) / 2, np.ones(len(box))])
        np.testing.assert_allclose(np.einsum("nij,nj->ni", transform, centre), 31.5, atol=0.75)
