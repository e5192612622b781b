"""Drawn people on real H.264: small videos that the real MTCNN finds, for the demo and the tests.

No photograph is needed: ellipses in the right places pass all three networks of the cascade. A fake
is made the
way face swaps are: another identity's inner face is warped onto the head, colour-shifted, softened
and blended through a feathered mask; its gain and place flicker from frame to frame, which is what
temporal detectors look for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

HEAD_SIDE = 320  # px of the canvas a head is drawn on before it is placed in the frame
_CENTRE = HEAD_SIDE // 2


@dataclass(frozen=True)
class Identity:
    """One drawn person; colours are RGB, sizes px on the head canvas."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    lips: tuple[float, float, float]
    shirt: tuple[float, float, float]
    head_width: int
    head_height: int
    eye_distance: int
    eye_height: int
    mouth_width: int
    brow: int
    fringe: int


@dataclass(frozen=True)
class Forgery:
    """How a fake differs from its target: the donor's face, and how badly it sits.

    shift: constant colour error, grey levels.
    flicker: standard deviation of the gain from frame to frame.
    jitter: standard deviation of the place, px of the head canvas.
    blur: softening of the donor, px.
    mouth_only: only the lower face is replaced, as reenactment methods do.
    """

    donor: Identity
    shift: float = 6.0
    flicker: float = 0.2
    jitter: float = 4.0
    blur: float = 2.2
    mouth_only: bool = False


def draw_identity(seed: int) -> Identity:
    """A person whose face follows from the seed alone."""
    rng = np.random.default_rng([seed, 77])
    tone = rng.uniform(0.45, 1.0)
    skin = np.array([232, 190, 160]) * tone + rng.normal(0, 5, 3)
    hair = np.array([[40, 30, 25], [90, 60, 35], [150, 110, 60], [70, 40, 30], [110, 105, 100]])[
        rng.integers(5)
    ]
    iris = np.array([[70, 45, 25], [60, 90, 120], [70, 100, 60], [90, 80, 70]])[rng.integers(4)]
    return Identity(
        skin=tuple(np.clip(skin, 30, 250)),
        hair=tuple(hair + rng.normal(0, 6, 3)),
        iris=tuple(iris.astype(float)),
        lips=tuple(np.clip(skin * [0.85, 0.55, 0.55], 0, 255)),
        shirt=tuple(rng.uniform(30, 200, 3)),
        head_width=int(rng.integers(92, 108)),
        head_height=int(rng.integers(122, 138)),
        eye_distance=int(rng.integers(40, 48)),
        eye_height=int(rng.integers(12, 22)),
        mouth_width=int(rng.integers(30, 42)),
        brow=int(rng.integers(4, 9)),
        fringe=int(rng.integers(40, 62)),
    )


def draw_head(who: Identity, mouth: float, eyes: float, gaze: float) -> tuple[NDArray, NDArray]:
    """One head on its canvas: picture (HEAD_SIDE, HEAD_SIDE, 3) and coverage (HEAD_SIDE,
    HEAD_SIDE), float32.

    mouth: 0 closed to 1 open.
    eyes: 0 shut to 1 open.
    gaze: px to the side.
    """
    picture = np.zeros((HEAD_SIDE, HEAD_SIDE, 3), np.float32)
    cover = np.zeros((HEAD_SIDE, HEAD_SIDE), np.float32)
    c, w, h = _CENTRE, who.head_width // 2 + 22, who.head_height // 2 + 26

    def oval(x: float, y: float, rx: float, ry: float, colour: object, angle: float = 0.0) -> None:
        cv2.ellipse(
            picture, ((x, y), (2 * rx, 2 * ry), angle), tuple(map(float, colour)), -1, cv2.LINE_AA
        )

    for centre, axes in (
        ((c, c - 8), (w + 4, h + 2)),
        ((c, c + 8), (w, h)),
        ((c - w, c + 8), (9, 16)),
        ((c + w, c + 8), (9, 16)),
    ):
        cv2.ellipse(cover, (centre, (2 * axes[0] - 1, 2 * axes[1] - 1), 0.0), 1.0, -1, cv2.LINE_AA)
    skin = np.array(who.skin)
    oval(c, c - 8, w + 4, h + 2, who.hair)
    oval(c - w, c + 8, 9, 16, skin * 0.88)
    oval(c + w, c + 8, 9, 16, skin * 0.88)
    oval(c, c + 8, w, h, skin)
    oval(c, c + h - 8, w * 0.55, 22, skin * 0.93)
    oval(c - w * 0.5, c + 26, 20, 16, skin * [1.02, 0.93, 0.93])
    oval(c + w * 0.5, c + 26, 20, 16, skin * [1.02, 0.93, 0.93])
    cv2.ellipse(
        picture,
        ((c, c - h + who.fringe * 0.5), (1.75 * w, who.fringe * 1.25), 0.0),
        who.hair,
        -1,
        cv2.LINE_AA,
    )
    for side in (-1, 1):
        x, y = c + side * who.eye_distance * 0.62, c - who.eye_height * 0.4
        oval(x, y, 17, 11, skin * 0.86)
        oval(x, y, 14, 8 * eyes + 0.6, (244, 242, 238))
        oval(x + gaze, y, 6.5, min(6.5, 8 * eyes + 0.4), who.iris)
        oval(x + gaze, y, 3, min(3.0, 8 * eyes + 0.4), (12, 10, 10))
        oval(x + gaze + 2, y - 2, 1.3, 1.3 * eyes + 0.1, (250, 250, 250))
        oval(x, y - 19, 19, who.brow * 0.55, np.array(who.hair) * 0.85, side * 6)
    oval(c, c + 22, 6, 24, skin * 0.94)
    oval(c, c + 38, 13, 7, skin * 0.88)
    oval(c - 6, c + 41, 3.4, 2.4, skin * 0.5)
    oval(c + 6, c + 41, 3.4, 2.4, skin * 0.5)
    oval(c, c + 66, who.mouth_width * 0.75, 7 + 9 * mouth, who.lips)
    oval(c, c + 66, who.mouth_width * 0.6, 1 + 9 * mouth, np.array(who.lips) * 0.35)
    # A lamp from the upper left: without shading all ovals are flat and no two frames differ in
    # light.
    light = np.linspace(1.08, 0.86, HEAD_SIDE, dtype=np.float32)
    picture *= light[None, :, None] * light[:, None, None] ** 0.4
    return picture, cover


def face_region(mouth_only: bool) -> NDArray[np.float32]:
    """Feathered mask (HEAD_SIDE, HEAD_SIDE) in 0..1 of the part that a forgery replaces."""
    mask = np.zeros((HEAD_SIDE, HEAD_SIDE), np.float32)
    centre, axes = (
        ((_CENTRE, _CENTRE + 60), (100, 66))
        if mouth_only
        else ((_CENTRE, _CENTRE + 22), (122, 148))
    )
    cv2.ellipse(mask, (centre, axes, 0.0), 1.0, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (0, 0), 5)


def _smooth_noise(rng: np.random.Generator, frames: int, period: float) -> NDArray[np.float64]:
    """A slow, seeded curve in about -1..1: the sum of three sines of random phase."""
    t = np.arange(frames) / period
    phase, speed = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.6, 1.6, 3)
    return np.mean(
        [np.sin(2 * np.pi * t * s + p) for s, p in zip(speed, phase, strict=True)], axis=0
    )


def draw_frames(
    who: Identity,
    frames: int,
    size: tuple[int, int] = (480, 360),
    seed: int = 0,
    forgery: Forgery | None = None,
    face: float = 0.5,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Frames (H, W, 3) uint8 RGB of a moving, speaking, blinking head, each with its forgery mask
    (H, W) uint8.

    size: (width, height), px.
    face: head canvas height over frame height.
    The same seed gives the same scene and motion, so a fake lies frame by frame on its original.
    """
    width, height = size
    scene, fake = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    low = (scene.uniform(60, 180, (5, 7, 1)) + scene.uniform(-22, 22, (5, 7, 3))).astype(np.float32)
    backdrop = cv2.resize(low, size, interpolation=cv2.INTER_CUBIC)
    backdrop += cv2.resize(
        scene.normal(0, 9, (height // 4, width // 4, 3)).astype(np.float32), size
    )
    # Sensor noise from a small bank, shifted every frame: fresh noise would cost more than all the
    # drawing.
    grain = scene.normal(0, 2.0, (4, height, width, 1)).astype(np.float32)
    scale = face * height / HEAD_SIDE * 1.35
    sway_x, sway_y, roll, speech, near = (
        _smooth_noise(scene, frames, p) for p in (60, 75, 80, 9, 110)
    )
    blink_at, start_x = int(scene.integers(8, 40)), scene.uniform(0.42, 0.58)
    region = (
        face_region(forgery.mouth_only) if forgery else np.zeros((HEAD_SIDE, HEAD_SIDE), np.float32)
    )
    tint = fake.normal(0, 1, 3).astype(np.float32)
    for t in range(frames):
        mouth, eyes = max(0.0, speech[t]), 0.08 if (t + blink_at) % 45 < 3 else 1.0
        head, cover = draw_head(who, mouth, eyes, 2.5 * sway_x[t])
        if forgery:
            donor, _ = draw_head(forgery.donor, mouth, eyes, 2.5 * sway_x[t])
            donor = cv2.GaussianBlur(donor, (0, 0), forgery.blur)
            # Colour transfer as the swap methods do it: the donor takes the target's skin tone, not
            # quite exactly.
            donor = donor * (
                np.array(who.skin, np.float32) / np.array(forgery.donor.skin, np.float32)
            )
            # Cut at 1.3 sigma: a face that goes black or white is no forgery anyone would keep, and
            # no face to MTCNN.
            gain = 1 + forgery.flicker * float(np.clip(fake.normal(), -1.3, 1.3))
            donor = donor * np.float32(gain) + np.float32(forgery.shift) * tint
            dx, dy = fake.normal(0, forgery.jitter, 2)
            donor = cv2.warpAffine(
                donor, np.float32([[1, 0, dx], [0, 1, dy]]), (HEAD_SIDE, HEAD_SIDE)
            )
            head = head * (1 - region[..., None]) + donor * region[..., None]
        turn = cv2.getRotationMatrix2D(
            (_CENTRE, _CENTRE), 7 * roll[t], scale * (1 + 0.06 * near[t])
        )
        turn[:, 2] += (
            width * (start_x + 0.05 * sway_x[t]) - _CENTRE,
            height * (0.46 + 0.04 * sway_y[t]) - _CENTRE,
        )
        placed = cv2.warpAffine(head, turn, size)
        alpha = cv2.warpAffine(cover, turn, size)[..., None]
        picture = backdrop.copy()
        chin = turn @ (_CENTRE, _CENTRE + 150, 1)
        _draw_body(picture, chin, scale, who)
        picture = picture * (1 - alpha) + placed * alpha
        picture += np.roll(grain[t % len(grain)], (37 * t % height, 53 * t % width), (0, 1))
        mask = cv2.warpAffine(region, turn, size)
        yield np.clip(picture, 0, 255).astype(np.uint8), (mask * 255).astype(np.uint8)


def _draw_body(picture: NDArray[np.float32], chin: NDArray, scale: float, who: Identity) -> None:
    neck, skin = (float(chin[0]), float(chin[1])), tuple(0.85 * v for v in who.skin)
    cv2.ellipse(picture, (neck, (80 * scale, 160 * scale), 0.0), skin, -1, cv2.LINE_AA)
    shoulders = (neck[0], neck[1] + 130 * scale)
    cv2.ellipse(picture, (shoulders, (330 * scale, 220 * scale), 0.0), who.shirt, -1, cv2.LINE_AA)


def encode_video(
    path: Path,
    pictures: Iterator[NDArray[np.uint8]] | list[NDArray[np.uint8]],
    fps: int = 25,
    crf: int = 23,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    keyint: int = 250,
) -> int:
    """Encode RGB or grey pictures into a container chosen by the suffix, and return how many there
    were.

    The file appears whole, by one rename.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    count = 0
    with av.open(str(partial), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.pix_fmt = pixel_format
        stream.options = {"crf": str(crf), "preset": "veryfast", "g": str(keyint), "threads": "1"}
        for picture in pictures:
            if count == 0:
                stream.height, stream.width = picture.shape[:2]
            kind = "gray" if picture.ndim == 2 else "rgb24"
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=kind)
                )
            )
            count += 1
        container.mux(stream.encode(None))
    partial.replace(path)
    return count
