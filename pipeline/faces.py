"""From the clips of one video to aligned face crops of one person: detect, cut out, follow, choose.

Comes in: Frames, a few clips at a time, so that no more pictures than theirs are in memory. Goes out: Crops. Every
clip is cut with ONE transform, from its middle frame: what moves inside a clip is the face, never the crop window,
because a window that jitters writes its own traces into the time axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import CropConfig
from pipeline.detector import Detector
from pipeline.errors import VideoError
from pipeline.records import Crops, Detections, Frames
from pipeline.tracks import Anchor, Track, describe, follow, likenesses, shrink, sparse_step, thumbnail

# Eyes, nose and mouth corners of an upright face, in any unit, y down; symmetric, so that an upright face turns by 0.
TEMPLATE = np.array([(-17.6, -20.3), (17.6, -20.3), (0.0, -0.2), (-14.6, 20.4), (14.6, 20.4)])

# Faces of one clip that are cut out before the person is known: largest first.
MAX_FACES = 6

# A step between two frames is a hard cut when the thumbnails differ by this many grey levels, hardly correlate, and
# the step is this many times the usual one of the clip. On real video steps stay below 8 levels and above 0.89, cuts
# start at 20 levels and 0.75; whip pans differ in every step, flashes still correlate. Around the face, lips and
# flickering fakes are allowed more.
CUT_LEVELS, CUT_CORRELATION, CUT_RATIO = 12.0, 0.8, 3.0
FACE_CUT_LEVELS, FACE_CUT_CORRELATION = 25.0, 0.5

# Fewest clips of a person that is not the main one.
MIN_CLIPS = 2

# Clips of a video whose anchors are detected at once, and pixels of these anchors, so that few frames wait in memory:
# four anchors of 1280x720 one after the other took 1.4 times as long on a CPU, for decoding between them empties the
# caches; on a GPU those of four videos fill a batch (pipeline/shared_detector.py).
TOGETHER = {"cpu": (4, 10_000_000), "cuda": (8, 20_000_000)}


def roll(landmark: NDArray) -> float:
    """Angle in radians, image axes, by which a face must be turned to stand upright; 0 if its points coincide.

    landmark: (5, 2) px. The rotation of the least-squares similarity to the template (Umeyama 1991, in 2-D).
    """
    points = np.asarray(landmark, np.float64)
    points = points - points.mean(0)
    template = TEMPLATE - TEMPLATE.mean(0)
    sine = (points[:, 0] * template[:, 1] - points[:, 1] * template[:, 0]).sum()
    cosine = (points * template).sum()
    return math.atan2(sine, cosine) if math.isfinite(sine + cosine) and (sine or cosine) else 0.0


def align_transform(box: NDArray, landmark: NDArray, size: int, margin: float) -> NDArray[np.float32]:
    """The similarity that puts a face upright in the middle of a crop; (2, 3) float32, frame px -> crop px.

    box: (4,) px, whose centre goes to the crop's centre and whose longer side becomes size / margin px.
    landmark: (5, 2) px, used for the rotation only: their distances change with the pose, the box hardly does.
    Whole numbers are pixel centres, as in OpenCV.
    """
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    side = margin * max(x2 - x1, y2 - y1)
    if not side > 0:
        raise ValueError(f"align_transform: box {x1:g},{y1:g},{x2:g},{y2:g} has no extent")
    angle = roll(landmark)
    turn = size / side * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    move = (size - 1) / 2 - turn @ [(x1 + x2) / 2, (y1 + y2) / 2]
    return np.column_stack([turn, move]).astype(np.float32)


def _reflected(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Positions start..stop-1 folded back into 0..length-1 at the border pixels, as often as needed."""
    period = max(1, 2 * length - 2)
    folded = np.abs(np.arange(start, stop)) % period
    return np.minimum(folded, period - folded)


def _patches(pixels: Sequence[NDArray], transform: NDArray, size: int, shrink: int) -> tuple[NDArray, NDArray]:
    """The part of the frames under the crop, averaged over shrink x shrink px, and its (2, 3) transform."""
    height, width = pixels[0].shape[:2]
    corner = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
    under = (corner - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    low = np.floor(under.min(0)).astype(int) - 2 * shrink
    high = low + -(-(np.ceil(under.max(0)).astype(int) + 2 * shrink - low) // shrink) * shrink
    first, last = np.maximum(low, 0), np.minimum(high, (width, height))
    before, after = first - low, high - last
    if (np.maximum(before, after) < last - first).all():
        part = [frame[first[1] : last[1], first[0] : last[0]] for frame in pixels]
        border = before[1], after[1], before[0], after[0]
        if any(border):
            part = [cv2.copyMakeBorder(frame, *border, cv2.BORDER_REFLECT_101) for frame in part]
    else:  # the overhang reflects pixels that the crop itself does not reach
        rows, columns = _reflected(low[1], high[1], height), _reflected(low[0], high[0], width)
        part = [frame[rows[:, None], columns] for frame in pixels]
    target = tuple(((high - low) // shrink).tolist())
    part = np.stack([cv2.resize(frame, target, interpolation=cv2.INTER_AREA) for frame in part])
    # Pixel k of the patch is the mean of frame pixels low + shrink*k ... low + shrink*k + shrink-1.
    move = transform[:, 2] + transform[:, :2] @ (low + (shrink - 1) / 2)
    return part, np.column_stack([transform[:, :2] * shrink, move])


def crop_clip(pixels: Sequence[NDArray[np.uint8]], transform: NDArray, size: int) -> NDArray[np.uint8]:
    """The same window cut from every frame of a clip: (T, H, W, 3) -> (T, size, size, 3) uint8.

    transform: (2, 3), frame px -> crop px. Outside the frame its reflection is seen (BORDER_REFLECT_101), so that the
    face stays in the middle. Enlarging is cubic (51 dB against an oversampled reference, linear 45), reducing is
    linear (at 1.4x 57 dB, cubic 52, which aliases), and beyond 2x whole pixels are averaged first.
    """
    transform = np.asarray(transform, np.float64)
    shrink = 1 / math.sqrt(abs(np.linalg.det(transform[:, :2])))
    if shrink > 2:
        pixels, transform = _patches(pixels, transform, size, int(shrink))
    how = cv2.INTER_CUBIC if shrink < 1 else cv2.INTER_LINEAR
    crops = np.empty((len(pixels), size, size, 3), np.uint8)
    for frame, crop in zip(pixels, crops, strict=True):
        cv2.warpAffine(frame, transform, (size, size), dst=crop, flags=how, borderMode=cv2.BORDER_REFLECT_101)
    return crops


def has_cut(pixels: NDArray[np.uint8], levels: float = CUT_LEVELS, correlation: float = CUT_CORRELATION) -> bool:
    """Whether one step of a clip (T, H, W, 3) stands out as a hard cut; ours, thresholds measured on real video."""
    return _is_cut([thumbnail(frame) for frame in pixels], levels, correlation)


def _is_cut(small: Sequence[NDArray[np.uint8]], levels: float, correlation: float) -> bool:
    """The same for the clip's thumbnails."""
    steps = likenesses(np.stack(small))
    for number, (step, alike) in enumerate(steps):
        if step > levels and alike < correlation:
            others = [size for size, _ in steps[:number] + steps[number + 1 :]]
            if step > CUT_RATIO * (float(np.median(others)) if others else 0.0):
                return True
    return False


def crop_frames(clip: Frames, transform: NDArray, size: int) -> NDArray[np.uint8]:
    """crop_clip of a clip's frames, of which no more is converted than lies under the crop."""
    height, width = clip.size
    transform = np.asarray(transform, np.float64)
    corner = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
    under = (corner - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    # Room for the cubic kernel and for the averaging of _patches.
    room = 4 + 4 * math.ceil(1 / math.sqrt(abs(np.linalg.det(transform[:, :2]))))
    low, high = np.floor(under.min(0)).astype(int) - room, np.ceil(under.max(0)).astype(int) + room
    first, last = np.maximum(low, 0), np.minimum(high, (width, height))
    # What is reflected at the picture's border must lie in the part too.
    if (np.maximum(first - low, high - last) >= last - first).any():
        first, last = np.zeros(2, int), np.array([width, height])
    moved = np.column_stack([transform[:, :2], transform[:, 2] + transform[:, :2] @ first])
    return crop_clip(clip.part(*first.tolist(), *last.tolist()), moved, size)


# Where the original video's face was in one window: box (4,) and landmark (5, 2), px.
Place = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class _Clip:
    """What is kept of one clip once its frames are gone: the cut-out candidates and how they were found.

    pixels: of each of F faces (T, S, S, 3).   transform: (F, 2, 3).   seen: faces found.
    cut: some or all were left out for a cut.
    """

    index: NDArray[np.int64]
    pts: NDArray[np.float64]
    faces: Detections
    transform: NDArray[np.float32]
    pixels: Sequence[NDArray[np.uint8]]
    anchor: Anchor
    seen: int
    cut: bool


def _cut_out(clip: Frames, faces: Detections, config: CropConfig, trusted: bool) -> _Clip:
    """Cut every candidate out of one clip; trusted faces come from the original video and are taken as they are."""
    small = [shrink(frame) for frame in clip.sparse(sparse_step(*clip.size))]
    cut = not trusted and len(faces) > 0 and _is_cut(small, CUT_LEVELS, CUT_CORRELATION)
    kept, transforms, crops, looks = [], [], [], []
    for number in range(0 if cut else min(len(faces), MAX_FACES)):
        transform = align_transform(faces.box[number], faces.landmark[number], config.size, config.margin)
        crop = crop_frames(clip, transform, config.size)
        if trusted or not has_cut(crop, FACE_CUT_LEVELS, FACE_CUT_CORRELATION):
            kept.append(number)
            transforms.append(transform)
            crops.append(crop)
            looks.append(describe(crop[len(crop) // 2]))
    chosen = Detections(faces.box[kept], faces.landmark[kept], faces.prob[kept])
    return _Clip(
        index=clip.index,
        pts=clip.pts,
        faces=chosen,
        transform=np.array(transforms, np.float32).reshape(-1, 2, 3),
        pixels=crops,
        anchor=Anchor(chosen.box, np.array(looks), small[len(small) // 2]),
        seen=len(faces),
        cut=len(kept) < min(len(faces), MAX_FACES),
    )


def _groups(clips: Iterable[Frames], device: str) -> Iterator[list[Frames]]:
    """Clips that are detected together; fewer of large frames, one at a time of the largest."""
    most, pixels = TOGETHER[device]
    group: list[Frames] = []
    for clip in clips:
        group.append(clip)
        height, width = clip.size
        del clip
        if len(group) >= min(most, pixels // (height * width)):
            yield group
            group = []
    if group:
        yield group


def _searched(clips: Iterable[Frames], detector: Detector, config: CropConfig) -> Iterator[_Clip]:
    """Detect on each clip's middle frame and cut out; a group's frames go before the next one is asked for."""
    for group in _groups(clips, config.device):
        found = detector.detect_many([clip.view(len(clip) // 2) for clip in group])
        while group:
            yield _cut_out(group.pop(0), found.pop(0), config, trusted=False)


def _given(clips: Iterable[Frames], boxes: Sequence[Place | None], config: CropConfig) -> Iterator[_Clip]:
    """Cut out where the original video's face was; windows that `boxes` does not reach are without a face."""
    for number, clip in enumerate(clips):
        place = boxes[number] if number < len(boxes) else None
        known = [] if place is None else [place]
        faces = Detections(
            np.array([box for box, _ in known], np.float32).reshape(-1, 4),
            np.array([landmark for _, landmark in known], np.float32).reshape(-1, 5, 2),
            np.zeros(len(known), np.float32),
        )
        yield _cut_out(clip, faces, config, trusted=True)


def _person(clips: Sequence[_Clip], track: Track, number: int) -> Crops:
    """Stack one person's crops; the other windows go into `dropped` with the reason."""
    window, face = (np.array(column, np.int64) for column in zip(*track.faces, strict=True))
    mine = [(clips[w], f) for w, f in zip(window, face, strict=True)]
    absent = sorted(set(range(len(clips))) - set(window.tolist()))
    why = ["cut" if clips[w].cut else "other_person" if clips[w].seen else "no_face" for w in absent]
    return Crops(
        pixels=np.stack([clip.pixels[f] for clip, f in mine]),
        index=np.stack([clip.index for clip, _ in mine]),
        pts=np.stack([clip.pts for clip, _ in mine]),
        box=np.stack([clip.faces.box[f] for clip, f in mine]),
        landmark=np.stack([clip.faces.landmark[f] for clip, f in mine]),
        prob=np.array([clip.faces.prob[f] for clip, f in mine], np.float32),
        transform=np.stack([clip.transform[f] for clip, f in mine]),
        window=window,
        dropped=tuple(zip(absent, why, strict=True)),
        faces=max(clip.seen for clip in clips),
        track=number,
    )


def find_crops(
    clips: Iterable[Frames],
    detector: Detector,
    config: CropConfig,
    boxes: Sequence[Place | None] | None = None,
) -> list[Crops]:
    """The aligned crops of a video's persons, main person first; only that one unless config.faces is "all".

    clips: one Frames per planned window, in order; those of one detector batch are held at a time (TOGETHER).
    boxes: per window box (4,) and landmark (5, 2) of the original video's face, None where it has none: the clip is
    cut exactly there and nothing is detected or judged, so that a fake and its original differ in the face only;
    prob is then 0, for no detector looked.
    Of the other persons those seen in at least MIN_CLIPS clips are returned: fewer is a passer-by or a false find.
    dropped holds (window, why): no_face, cut (a hard cut inside the clip), other_person (faces, but not this one).

    Raises: VideoError("no_face") when no clip shows a face.
    """
    if boxes is None:
        kept = list(_searched(clips, detector, config))
        tracks = follow([clip.anchor for clip in kept])
    else:
        kept = list(_given(clips, boxes, config))
        faces = tuple((number, 0) for number, clip in enumerate(kept) if len(clip.faces))
        tracks = [Track(faces, 0.0)] if faces else []
    if not tracks:
        cuts = sum(clip.cut for clip in kept)
        detail = f"none in {len(kept)} clips" + (f", {cuts} of them left out for a cut" if cuts else "")
        raise VideoError("no_face", detail)
    others = [track for track in tracks[1:] if len(track.faces) >= MIN_CLIPS] if config.faces == "all" else []
    return [_person(kept, track, number) for number, track in enumerate([tracks[0], *others])]
