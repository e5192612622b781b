"""A fake's mask video: which of its persons it lies on, and the masks cut with the transforms of
the crops.

Mask videos are lossy, so they are thresholded at mid-grey. They may have another size than their
video, as long as the shape is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import ExtractConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.windows import find_windows
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction.pairs import STRETCHED
from unmask.pipeline.faces.crop import crop_clip
from unmask.pipeline.records import REAL, TRANSIENT_REASONS, Crops, Video, VideoInfo

log = logging.getLogger(__name__)

GREY = 128

# A person is forged where the mask covers this share of the face box, averaged over the clips in
# which there is a mask at all: a mouth alone covers some 15 %, a neighbour's mask a few.
COVERED = 0.05

# Flags of a fake: nobody who was found lies under its mask, so that its crops may show an
# untouched face; and several persons of whom no mask says which one is forged.
MASK_ELSEWHERE, SEVERAL_PERSONS = "mask_elsewhere", "several_persons"


def cut_masks(
    video: Video, crops: Crops, size: tuple[int, int], config: ExtractConfig
) -> tuple[NDArray[np.uint8] | None, str]:
    """Manipulation masks (N, T, S, S) uint8 cut with the face's own transforms, and a flag where
    there are none.

    size: width and height of the video's upright frame, px.
    A real video has all-zero masks.
    """
    if video.label == REAL:
        return np.zeros(crops.pixels.shape[:4], np.uint8), ""
    if video.mask is None or not video.mask.exists():
        return None, "no_mask"
    path = video.mask

    def read(info: VideoInfo) -> tuple[NDArray[np.uint8] | None, str]:
        windows, there = find_windows(info, crops.index)
        if not there.all():
            return None, "mask_incomplete"
        if not _same_shape(info, size):
            return None, "mask_other_shape"
        grey = [
            crop_clip(frames.pixels, _from_mask(transform, info, size), config.crop.size)[..., 1]
            for frames, transform in zip(
                decode_clips(path, info, windows), crops.transform, strict=True
            )
        ]
        return np.where(np.stack(grey) >= GREY, 255, 0).astype(np.uint8), ""

    try:
        return with_fallback(path, config.limits, read)
    except VideoError as error:  # the fake itself is sound
        _raise_what_may_pass(error)
        log.info("%r: the mask is of no use: %s", str(path), error)
        return None, "mask_unreadable"


def forged_persons(
    video: Video, people: Sequence[Crops], size: tuple[int, int], config: ExtractConfig
) -> list[Crops] | None:
    """The persons of a fake on whom its mask lies, most covered first; [] when it lies on none,
    None when there is no mask to ask.

    people: main person first.
    size: width and height of the video's upright frame, px.
    """
    if video.mask is None or not video.mask.exists():
        return None
    middle = people[0].index.shape[1] // 2
    anchors = np.unique(np.concatenate([crops.index[:, middle] for crops in people]))
    if len(people) == 1:  # one look is enough to see that it lies where it should
        (share,) = _covered(
            people, _mask_frames(video.mask, anchors[len(anchors) // 2 :][:1], config.limits), size
        )
        if share >= COVERED:
            return list(people)
    shares = _covered(people, _mask_frames(video.mask, anchors, config.limits), size)
    if np.isnan(shares).all():
        return None
    order = np.argsort(-np.nan_to_num(shares), kind="stable")
    forged = [people[number] for number in order if shares[number] >= COVERED]
    return [replace(crops, track=number) for number, crops in enumerate(forged)]


def _covered(
    people: Sequence[Crops], masks: dict[int, NDArray[np.bool_]], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Mean share of each person's box that is masked, over the anchors with a mask that is not
    empty; nan where there are none.
    """
    shares = np.full(len(people), np.nan)
    middle = people[0].index.shape[1] // 2
    for number, crops in enumerate(people):
        seen = [
            _share(masks[frame], box, size)
            for frame, box in zip(crops.index[:, middle].tolist(), crops.box, strict=True)
            if frame in masks
        ]
        if seen:
            shares[number] = float(np.mean(seen))
    return shares


def _share(mask: NDArray[np.bool_], box: NDArray[np.float32], size: tuple[int, int]) -> float:
    """Share of a box (4,), px of the video, that a mask (h, w) of any size covers."""
    scale = np.array(mask.shape[::-1]) / size
    low = np.clip(np.floor(box[:2] * scale), 0, None).astype(int)
    high = np.clip(np.ceil(box[2:] * scale), 0, None).astype(int)
    part = mask[low[1] : high[1], low[0] : high[0]]
    return float(part.mean()) if part.size else 0.0


def _mask_frames(
    path: Path, numbers: NDArray[np.int64], limits: Limits
) -> dict[int, NDArray[np.bool_]]:
    """Frame number -> mask (h, w) of the chosen frames that the mask video has and that are not
    empty; nothing where it cannot be read.
    """

    def read(info: VideoInfo) -> dict[int, NDArray[np.bool_]]:
        windows, there = find_windows(info, numbers[:, None])
        masks = {}
        for number, frames in zip(numbers[there], decode_clips(path, info, windows), strict=True):
            mask = frames.picture(0)[..., 1] >= GREY
            if mask.any():
                masks[int(number)] = mask
        return masks

    try:
        return with_fallback(path, limits, read)
    except VideoError as error:
        _raise_what_may_pass(error)
        log.info("%r: the mask is of no use: %s", str(path), error)
        return {}


def _raise_what_may_pass(error: VideoError) -> None:
    """A mask that could not be read this time only must not decide for ever what is cut."""
    if error.reason in TRANSIENT_REASONS:
        raise error


def _same_shape(info: VideoInfo, size: tuple[int, int]) -> bool:
    scale = np.array([info.width, info.height]) / size
    return bool(scale.max() <= (1 + STRETCHED) * scale.min())


def _from_mask(
    transform: NDArray[np.float32], info: VideoInfo, size: tuple[int, int]
) -> NDArray[np.float64]:
    """The (2, 3) transform of the video's frames for those of its mask: mask px -> crop px."""
    scale = np.array(size) / (info.width, info.height)
    turn = transform[:, :2].astype(np.float64) * scale
    # Whole numbers are the middles of pixels: frame px = (mask px + 0.5) * scale - 0.5.
    move = transform[:, 2] + transform[:, :2] @ (0.5 * scale - 0.5)
    return np.column_stack([turn, move])
