"""From the clips of one video to aligned face crops of one person: detect, cut out, follow, choose.

Comes in: Frames, a few clips at a time, so that no more pictures than theirs are in memory. Goes
out: Crops. Every clip is cut with ONE transform, from its middle frame: what moves inside a clip is
the face, never the crop window, because a window that jitters writes its own traces into the time
axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import CropConfig
from unmask.pipeline.errors import VideoError
from unmask.pipeline.faces.crop import align_transform, crop_frames
from unmask.pipeline.faces.cuts import (
    CUT_CORRELATION,
    CUT_LEVELS,
    FACE_CUT_CORRELATION,
    FACE_CUT_LEVELS,
    has_cut,
    is_hard_cut,
    shrink_frame,
    sparse_step,
)
from unmask.pipeline.faces.detector import Detector
from unmask.pipeline.faces.looks import describe
from unmask.pipeline.faces.tracks import Anchor, Track, associate
from unmask.pipeline.records import Crops, Detections, Frames

# Faces of one clip that are cut out before the person is known: largest first.
MAX_FACES = 6

# Fewest clips of a person that is not the main one.
MIN_CLIPS = 2

# Clips of a video whose anchors are detected at once, and pixels of these anchors, so that few
# frames wait in memory: four anchors of 1280x720 one after the other took 1.4 times as long on a
# CPU, for decoding between them empties the caches; on a GPU those of four videos fill a batch
# (pipeline/faces/shared_detector.py).
TOGETHER = {"cpu": (4, 10_000_000), "cuda": (8, 20_000_000)}


# Where the original video's face was in one window: box (4,) and landmark (5, 2), px.
Place = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class _Clip:
    """What is kept of one clip once its frames are gone: the cut-out candidates and how they were
    found.

    pixels: of each of F faces (T, S, S, 3).
    transform: (F, 2, 3).
    seen: faces found.
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
    """Cut every candidate out of one clip; trusted faces come from the original video and are
    taken as they are.
    """
    small = [shrink_frame(frame) for frame in clip.sparse(sparse_step(*clip.size))]
    cut = not trusted and len(faces) > 0 and is_hard_cut(small, CUT_LEVELS, CUT_CORRELATION)
    kept, transforms, crops, looks = [], [], [], []
    for number in range(0 if cut else min(len(faces), MAX_FACES)):
        transform = align_transform(
            faces.box[number], faces.landmark[number], config.size, config.margin
        )
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
    """Detect on each clip's middle frame and cut out; a group's frames go before the next one is
    asked for.
    """
    for group in _groups(clips, config.device):
        found = detector.detect_many([clip.view(len(clip) // 2) for clip in group])
        while group:
            yield _cut_out(group.pop(0), found.pop(0), config, trusted=False)


def _given(
    clips: Iterable[Frames], boxes: Sequence[Place | None], config: CropConfig
) -> Iterator[_Clip]:
    """Cut out where the original video's face was; windows that `boxes` does not reach are without
    a face.
    """
    for number, clip in enumerate(clips):
        place = boxes[number] if number < len(boxes) else None
        known = [] if place is None else [place]
        faces = Detections(
            np.array([box for box, _ in known], np.float32).reshape(-1, 4),
            np.array([landmark for _, landmark in known], np.float32).reshape(-1, 5, 2),
            np.zeros(len(known), np.float32),
        )
        yield _cut_out(clip, faces, config, trusted=True)


def _person(clips: Sequence[_Clip], track: Track, number: int, persons: int) -> Crops:
    """Stack one person's crops; the other windows go into `dropped` with the reason."""
    window, face = (np.array(column, np.int64) for column in zip(*track.faces, strict=True))
    mine = [(clips[w], f) for w, f in zip(window, face, strict=True)]
    absent = sorted(set(range(len(clips))) - set(window.tolist()))
    why = [
        "cut" if clips[w].cut else "other_person" if clips[w].seen else "no_face" for w in absent
    ]
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
        persons=persons,
        track=number,
    )


def find_crops(
    clips: Iterable[Frames],
    detector: Detector,
    config: CropConfig,
    boxes: Sequence[Place | None] | None = None,
    everyone: bool = False,
) -> list[Crops]:
    """The aligned crops of a video's persons, main person first; only that one unless config.faces
    is "all" or `everyone`.

    clips: one Frames per planned window, in order; those of one detector batch are held at a time
    (TOGETHER).
    boxes: per window box (4,) and landmark (5, 2) of the original video's face, None where it has
    none: the clip is cut exactly there and nothing is detected or judged, so that a fake and its
    original differ in the face only; prob is then 0, for no detector looked.
    everyone: look at the persons beside the main one whatever config.faces says.
    Of the other persons those seen in at least MIN_CLIPS clips are returned: fewer is a passer-by
    or a false find. dropped holds (window, why): no_face, cut (a hard cut inside the clip),
    other_person (faces, but not this one).

    Raises: VideoError("no_face") when no clip shows a face.
    """
    if boxes is None:
        kept = list(_searched(clips, detector, config))
        tracks = associate([clip.anchor for clip in kept])
    else:
        kept = list(_given(clips, boxes, config))
        faces = tuple((number, 0) for number, clip in enumerate(kept) if len(clip.faces))
        tracks = [Track(faces, 0.0)] if faces else []
    if not tracks:
        cuts = sum(clip.cut for clip in kept)
        detail = f"none in {len(kept)} clips" + (
            f", {cuts} of them left out for a cut" if cuts else ""
        )
        raise VideoError("no_face", detail)
    persons = [tracks[0], *(track for track in tracks[1:] if len(track.faces) >= MIN_CLIPS)]
    asked = persons if everyone or config.faces == "all" else persons[:1]
    return [_person(kept, track, number, len(persons)) for number, track in enumerate(asked)]
