"""Crops against analytic pictures, and whole scenes whose persons are known because they are
drawn.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from unmask.pipeline.config import CropConfig
from unmask.pipeline.decode.frames import ArrayFrames
from unmask.pipeline.demo.drawing import draw_frames, draw_identity
from unmask.pipeline.errors import VideoError
from unmask.pipeline.faces import find
from unmask.pipeline.faces.crop import TEMPLATE, align_transform, crop_clip, roll
from unmask.pipeline.faces.cuts import has_cut
from unmask.pipeline.faces.detector import Detector, build_detector
from unmask.pipeline.faces.find import find_crops
from unmask.pipeline.records import Detections, Frames

CONFIG = CropConfig(size=96, frames=3)
WIDE, HIGH = 480, 360  # one drawn scene
LENGTH = 3


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build_detector(CONFIG)


# --- the transform ---


def turned(
    degrees: float, scale: float = 2.5, centre: tuple[float, float] = (50, 60)
) -> np.ndarray:
    """Landmarks of a face that leans clockwise (as seen) by an angle."""
    a = math.radians(degrees)
    return (
        TEMPLATE @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) * scale
        + centre
    )


@pytest.mark.parametrize("degrees", [-170, -90, -30, 0, 7.5, 45, 120])
def test_roll_undoes_the_lean_of_a_face(degrees: float) -> None:
    assert math.degrees(roll(turned(degrees))) == pytest.approx(-degrees, abs=1e-9)


def test_roll_of_points_without_direction_is_none() -> None:
    assert roll(np.full((5, 2), 3.0)) == 0.0
    assert roll(np.full((5, 2), np.nan)) == 0.0


@pytest.mark.parametrize("degrees", [-40, 0, 25])
@pytest.mark.parametrize("size", [96, 240])
def test_transform_centres_scales_and_rights_a_face(degrees: float, size: int) -> None:
    box, landmark = np.array([10.0, 20, 90, 120]), turned(degrees)
    m = align_transform(box, landmark, size, 1.3)
    assert m.dtype == np.float32 and m.shape == (2, 3)
    np.testing.assert_allclose(m[:, :2] @ [50, 70] + m[:, 2], (size - 1) / 2, atol=1e-3)
    assert math.sqrt(np.linalg.det(m[:, :2])) == pytest.approx(size / (1.3 * 100), rel=1e-5)
    upright = landmark @ m[:, :2].T + m[:, 2]
    eyes, mouth = upright[1] - upright[0], upright[4] - upright[3]
    assert abs(eyes[1]) < 1e-3 and abs(mouth[1]) < 1e-3 and eyes[0] > 0
    assert upright[:2, 1].max() < upright[3:, 1].min()  # eyes above the mouth


def test_a_box_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="no extent"):
        align_transform(np.array([5.0, 5, 5, 5]), turned(0), 96, 1.3)


# --- the crop ---


def ramp(width: int, height: int) -> np.ndarray:
    """A picture that says where it is: red is 0.5 x, green 0.5 y, blue their mixture, in grey
    levels.
    """
    y, x = np.mgrid[:height, :width]
    return np.rint(np.stack([x / 2, y / 2, (x + y) / 4], -1)).astype(np.uint8)


def expected_ramp(transform: np.ndarray, size: int, width: int, height: int) -> np.ndarray:
    """What an ideal crop of the ramp shows, the ramp folded back at the picture's border pixels."""
    y, x = np.mgrid[:size, :size]
    at = np.stack([x, y], -1) - transform[:, 2].astype(np.float64)
    at = at @ np.linalg.inv(transform[:, :2].astype(np.float64)).T
    fold = [
        np.abs((at[..., k] + n - 1) % (2 * n - 2) - (n - 1)) for k, n in ((0, width), (1, height))
    ]
    fx, fy = fold
    return np.stack([fx / 2, fy / 2, (fx + fy) / 4], -1)


@pytest.mark.parametrize("degrees", [0, 17, -80])
@pytest.mark.parametrize("side", [40, 96, 150, 210, 330])
def test_a_crop_shows_the_pixels_under_it(side: float, degrees: float) -> None:
    """From enlarging 2.4 times to reducing 4.5 times, within one grey level everywhere."""
    box = np.array([220 - side / 2, 230 - side / 2, 220 + side / 2, 230 + side / 2])
    m = align_transform(box, turned(degrees), 96, 1.3 if side < 200 else 1.0)
    crop = crop_clip(ramp(500, 490)[None], m, 96)
    assert crop.shape == (1, 96, 96, 3) and crop.dtype == np.uint8
    assert np.abs(crop[0] - expected_ramp(m, 96, 500, 490)).max() <= 1


@pytest.mark.parametrize("side", [60, 110, 300])
@pytest.mark.parametrize("corner", [(0, 0), (419, 0), (0, 379), (419, 379)])
def test_beyond_the_border_a_crop_shows_the_reflection_and_the_face_stays_in_the_middle(
    corner: tuple[int, int], side: float
) -> None:
    x, y = corner
    m = align_transform(
        np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2]), turned(10), 96, 1.3
    )
    crop = crop_clip(ramp(420, 380)[None], m, 96)[0]
    # At the fold itself the average of neighbours rounds the corner of the ramp off.
    assert np.abs(crop - expected_ramp(m, 96, 420, 380)).max() <= max(
        1.0, side * 1.3 / 96 / 2 + 0.6
    )
    np.testing.assert_allclose(m[:, :2] @ corner + m[:, 2], 47.5, atol=1e-3)


def test_a_face_larger_than_the_picture_is_cut_whole() -> None:
    m = align_transform(np.array([-200.0, -200, 250, 250]), turned(0), 96, 1.3)
    crop = crop_clip(ramp(50, 40)[None], m, 96)[0]
    # Folded many times over and averaged, the ramp's own range is what can be seen.
    assert crop[..., 0].max() <= 25 and crop[..., 1].max() <= 20 and crop.std() > 1
    one_pixel = crop_clip(np.full((2, 1, 1, 3), 77, np.uint8), m, 96)
    assert (one_pixel == 77).all()


def test_reducing_does_not_alias() -> None:
    """A chequerboard of single pixels is even grey once it is reduced, but for the odd pixel of a
    5 x 5 average.
    """
    board = (
        ((np.add(*np.mgrid[:700, :700]) % 2) * 255).astype(np.uint8)[None, ..., None].repeat(3, -1)
    )
    m = align_transform(np.array([100.0, 100, 540, 540]), turned(12), 96, 1.3)
    assert np.abs(crop_clip(board, m, 96).astype(float) - 127.5).max() <= 255 / 50 + 1


def test_every_frame_of_a_clip_is_cut_alike() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 200, 300, 3), np.uint8)
    m = align_transform(np.array([50.0, 40, 150, 160]), turned(5), 96, 1.3)
    together = crop_clip(frames, m, 96)
    for frame, crop in zip(frames, together, strict=True):
        assert np.array_equal(crop_clip(frame[None], m, 96)[0], crop)
    assert np.array_equal(together, crop_clip(frames, m, 96))


# --- cuts ---


@cache
def scene(who: int, seed: int, frames: int = 12) -> np.ndarray:
    return np.stack(
        [f for f, _ in draw_frames(draw_identity(who), frames, (WIDE, HIGH), seed=seed)]
    )


def test_a_cut_is_seen_wherever_it_falls() -> None:
    one, two = scene(1, 1), scene(2, 2)
    for at in range(1, 5):
        assert has_cut(np.concatenate([one[:at], two[at:5]]))
    assert has_cut(np.stack([one[0], two[0]]))
    assert not has_cut(one[:5]) and not has_cut(two[:5]) and not has_cut(one[:1])


def test_motion_and_flashes_are_no_cut() -> None:
    still = scene(1, 1)[0]
    pan = np.stack([np.roll(still, 90 * n, axis=1) for n in range(5)])
    assert not has_cut(pan)
    flash = np.stack([still, np.clip(still * 1.7, 0, 255).astype(np.uint8), still, still, still])
    assert not has_cut(flash)


def real_frames(path: Path, every: int = 1) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                yield frame.to_ndarray(format="rgb24")


def test_real_video_has_no_cut_and_its_splices_have(media: Path) -> None:
    names = (
        "real_crowd_1080p_h264_aac.mp4",
        "pair_real_car_1080p.mp4",
        "derived_400x400_vp9_30fps.webm",
    )
    videos = []
    for name in names:
        frames = [cv2.resize(f, (640, 360)) for f in real_frames(media / "videos" / name)]
        assert not any(has_cut(np.stack(frames[n : n + 5])) for n in range(0, len(frames) - 5, 3))
        videos.append(frames)
    for one in videos:
        for two in videos:
            if one is not two:
                assert has_cut(np.stack([*one[:3], *two[9:11]]))


# --- whole scenes ---


def clips(*pictures: np.ndarray) -> Iterator[Frames]:
    """One Frames per (T, H, W, 3) array, as the decoder would yield them."""
    for number, pixels in enumerate(pictures):
        index = np.arange(len(pixels)) + 100 * number
        yield ArrayFrames(pixels, index, index / 25)


def shot(who: int, seed: int, clip: int) -> np.ndarray:
    return scene(who, seed)[clip : clip + LENGTH]


def beside(left: np.ndarray | None, right: np.ndarray | None) -> np.ndarray:
    """Two half-width scenes side by side; None is an empty wall."""
    wall = np.full((LENGTH, HIGH, WIDE, 3), 90, np.uint8)
    halves = [wall if half is None else half for half in (left, right)]
    return np.concatenate([half[:, :, 90:390] for half in halves], axis=2)


def test_one_person_fills_every_clip(detector: Detector) -> None:
    pictures = [shot(1, 1, n) for n in range(0, 8, 2)]
    (crops,) = find_crops(clips(*pictures), detector, CONFIG)
    assert crops.pixels.shape == (4, LENGTH, 96, 96, 3) and crops.pixels.dtype == np.uint8
    assert crops.index.tolist() == [[100 * n, 100 * n + 1, 100 * n + 2] for n in range(4)]
    assert crops.pts.dtype == np.float64 and crops.pts[1, 0] == 4.0
    assert (
        crops.window.tolist() == [0, 1, 2, 3]
        and crops.dropped == ()
        and crops.track == 0
        and crops.faces == 1
    )
    assert (
        crops.box.dtype
        == crops.landmark.dtype
        == crops.prob.dtype
        == crops.transform.dtype
        == np.float32
    )
    for n, picture in enumerate(pictures):
        found = detector.detect(picture[LENGTH // 2])
        # Anchors share a batch, which may round differently.
        assert (
            np.allclose(crops.box[n], found.box[0], atol=0.01)
            and abs(crops.prob[n] - found.prob[0]) < 1e-4
        )
        m = align_transform(crops.box[n], crops.landmark[n], 96, 1.3)
        assert np.array_equal(crops.transform[n], m)
        # Of the picture only the part under the crop is looked at, which may round a coordinate
        # differently.
        assert np.abs(crops.pixels[n].astype(int) - crop_clip(picture, m, 96)).max() <= 1


def test_a_leaning_face_is_cut_upright(detector: Detector) -> None:
    lean = cv2.getRotationMatrix2D((WIDE / 2, HIGH / 2), 25, 1)
    pictures = np.stack(
        [
            cv2.warpAffine(f, lean, (WIDE, HIGH), borderMode=cv2.BORDER_REFLECT)
            for f in shot(1, 1, 0)
        ]
    )
    (crops,) = find_crops(clips(pictures), detector, replace(CONFIG, size=240))
    upright = detector.detect(crops.pixels[0, 1])
    assert len(upright) == 1
    assert (
        abs(math.degrees(roll(crops.landmark[0]))) > 18
        and abs(math.degrees(roll(upright.landmark[0]))) < 5
    )
    centre = (upright.box[0, :2] + upright.box[0, 2:]) / 2
    assert np.abs(centre - 119.5).max() < 15


def test_who_leaves_and_returns_keeps_the_clips_before_and_after(detector: Detector) -> None:
    here = [True, True, False, False, True, True, True]
    pictures = [
        beside(shot(1, 1, n) if h else None, shot(7, 4, n) if n < 5 else None)
        for n, h in enumerate(here)
    ]
    main, other = find_crops(clips(*pictures), detector, replace(CONFIG, faces="all"))
    left, right = (main, other) if main.box[0, 0] < 300 else (other, main)
    assert left.window.tolist() == [0, 1, 4, 5, 6] and left.dropped == (
        (2, "other_person"),
        (3, "other_person"),
    )
    assert right.window.tolist() == [0, 1, 2, 3, 4] and right.dropped == (
        (5, "other_person"),
        (6, "other_person"),
    )
    assert (left.box[:, 2] < 330).all() and (right.box[:, 0] > 270).all()
    assert main.faces == other.faces == 2 and (main.track, other.track) == (0, 1)
    (only,) = find_crops(clips(*pictures), detector, CONFIG)
    assert np.array_equal(only.pixels, main.pixels)


def test_a_cut_to_another_person_splits_and_a_cut_inside_a_clip_is_dropped(
    detector: Detector,
) -> None:
    pictures = [shot(1, 1, n) for n in range(3)] + [
        np.concatenate([shot(1, 1, 4)[:1], shot(2, 2, 4)[:2]])
    ]
    pictures += [shot(2, 2, n) for n in range(2)]
    (crops,) = find_crops(clips(*pictures), detector, CONFIG)
    assert crops.window.tolist() == [0, 1, 2]
    assert crops.dropped == ((3, "cut"), (4, "other_person"), (5, "other_person"))


def test_empty_clips_are_dropped_and_an_empty_video_is_a_reason(detector: Detector) -> None:
    blank = np.full((LENGTH, HIGH, WIDE, 3), 128, np.uint8)
    (crops,) = find_crops(clips(blank, shot(1, 1, 0), blank), detector, CONFIG)
    assert crops.window.tolist() == [1] and crops.dropped == ((0, "no_face"), (2, "no_face"))
    for nothing in ([blank, blank], [np.zeros((LENGTH, 10, 10, 3), np.uint8)], []):
        with pytest.raises(VideoError) as error:
            find_crops(clips(*nothing), detector, CONFIG)
        assert error.value.reason == "no_face"


def test_a_passer_by_is_no_person_of_the_video(detector: Detector) -> None:
    pictures = [beside(shot(1, 1, n), shot(7, 4, n) if n == 1 else None) for n in range(3)]
    people = find_crops(clips(*pictures), detector, replace(CONFIG, faces="all"))
    assert len(people) == 1 and people[0].window.tolist() == [0, 1, 2] and people[0].faces == 2


def test_a_fake_is_cut_exactly_where_its_original_is(detector: Detector) -> None:
    real, fake = [shot(1, 1, n) for n in range(3)], [255 - shot(1, 1, n) for n in range(4)]
    (original,) = find_crops(clips(*real), detector, CONFIG)
    boxes = [(original.box[0], original.landmark[0]), None, (original.box[2], original.landmark[2])]
    (crops,) = find_crops(clips(*fake), detector, CONFIG, boxes)
    assert crops.window.tolist() == [0, 2] and crops.dropped == ((1, "no_face"), (3, "no_face"))
    assert np.array_equal(crops.transform, original.transform[[0, 2]])
    assert np.abs(crops.pixels.astype(int) - (255 - original.pixels[[0, 2]].astype(int))).max() <= 1
    assert (crops.prob == 0).all()
    with pytest.raises(VideoError, match="no_face"):
        find_crops(clips(*fake), detector, CONFIG, [None, None])


@pytest.mark.parametrize(
    ("device", "room", "together"),
    [("cpu", None, 4), ("cpu", 2 * 480 * 360, 2), ("cpu", 1000, 1), ("cuda", None, 6)],
)
def test_frames_are_let_go_before_the_next_clips_are_decoded(
    device: str,
    room: int | None,
    together: int,
    detector: Detector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if room is not None:
        monkeypatch.setitem(find.TOGETHER, device, (find.TOGETHER[device][0], room))
    alive: list[weakref.ref] = []

    def decoding() -> Iterator[Frames]:
        for n in range(6):
            held = sum(ref() is not None for ref in alive)
            assert held == n % together
            pixels = shot(1, 1, n).copy()
            alive.append(weakref.ref(pixels))
            frames = ArrayFrames(pixels, np.arange(LENGTH), np.arange(LENGTH) / 25)
            del pixels
            yield frames
            del frames

    (crops,) = find_crops(decoding(), detector, replace(CONFIG, device=device))
    assert len(crops.window) == len(alive) == 6


class TwoFaces:
    """A detector of its own kind: finds whatever it is told, in order of the clips."""

    def __init__(self, found: list[Detections]) -> None:
        self.found = iter(found)

    def detect(self, pixels: np.ndarray) -> Detections:
        return next(self.found)

    def detect_many(self, pictures: list[np.ndarray]) -> list[Detections]:
        return [self.detect(p) for p in pictures]


def test_a_cut_behind_a_still_background_is_seen_at_the_face() -> None:
    """Picture in picture: a small face changes while most of the frame stays."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(
        rng.integers(0, 256, (9, 16, 3), np.uint8), (1280, 720), interpolation=cv2.INTER_CUBIC
    )
    inset = [cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (120, 120)) for _ in range(2)]
    clip = np.stack([wall] * 5)
    clip[:2, 40:160, 1000:1120] = inset[0]
    clip[2:, 40:160, 1000:1120] = inset[1]
    assert not has_cut(clip)
    face = Detections(
        np.float32([[1010, 50, 1110, 150]]),
        turned(0, 2, (1060, 100))[None].astype(np.float32),
        np.ones(1),
    )
    with pytest.raises(VideoError, match="1 of them left out for a cut"):
        find_crops(clips(clip), TwoFaces([face]), CONFIG)


def test_the_person_followed_through_a_crowd_is_one_person(media: Path, detector: Detector) -> None:
    """Truth without looks: a face overlaps itself from one frame to the next, so every frame is
    detected, chained.
    """
    frames = list(real_frames(media / "videos" / "real_crowd_1080p_h264_aac.mp4"))
    starts = range(0, 57, 4)
    windows = [np.stack(frames[s : s + 5]) for s in starts]
    (crops,) = find_crops(clips(*windows), detector, CONFIG)
    assert len(crops.window) >= len(windows) - 1
    box = crops.box[0].astype(float)
    chain = {}
    for number in range(int(starts[crops.window[0]]) + 2, int(starts[-1]) + 3):
        inter = []
        found = detector.detect(frames[number]).box.astype(float)
        for other in found:
            side = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0)
            inter.append(
                side.prod()
                / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - side.prod())
            )
        if inter and max(inter) > 0.3:
            box = found[int(np.argmax(inter))]
            chain[number] = box
    for window, seen in zip(crops.window, crops.box, strict=True):
        np.testing.assert_allclose(seen, chain[int(starts[window]) + 2], atol=0.5)


def test_a_face_that_leaves_the_picture_stays_in_the_middle(
    media: Path, detector: Detector
) -> None:
    picture = np.ascontiguousarray(
        cv2.imread(str(media / "images" / "face_aligned_160_kate.png"))[..., ::-1]
    )
    (crops,) = find_crops(clips(np.stack([picture] * 3)), detector, replace(CONFIG, size=240))
    box = crops.box[0]
    assert (box[:2] < 0).all() and (box[2:] > 160).all()
    found = detector.detect(crops.pixels[0, 1])
    centre = (found.box[0, :2] + found.box[0, 2:]) / 2
    assert np.abs(centre - 119.5).max() < 30 and abs(math.degrees(roll(found.landmark[0]))) < 6
