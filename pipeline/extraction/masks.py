"""Cut a mask video with the transforms of the crops it belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.records import REAL, Crops, Video, VideoInfo


def cut_masks(
    video: Video, crops: Crops, config: ExtractConfig
) -> tuple[NDArray[np.uint8] | None, str]:
    """Manipulation masks (N, T, S, S) uint8 cut with the face's own transforms, and a flag where
    there are none.

    A real video has all-zero masks. Mask videos are lossy, so they are thresholded at mid-grey
    (datasets sheet 1.4).
    """
    from unmask.pipeline.decode.clips import decode_clips
    from unmask.pipeline.decode.retry import with_fallback
    from unmask.pipeline.decode.windows import find_windows
    from unmask.pipeline.faces.crop import crop_clip

    shape = crops.pixels.shape[:4]
    if video.label == REAL:
        return np.zeros(shape, np.uint8), ""
    if video.mask is None or not video.mask.exists():
        return None, "no_mask"
    path = video.mask

    def read(info: VideoInfo) -> tuple[NDArray[np.uint8] | None, str]:
        windows, there = find_windows(info, crops.index)
        if not there.all():
            return None, "mask_incomplete"
        clips = zip(decode_clips(path, info, windows), crops.transform, strict=True)
        grey = [
            crop_clip(frames.pixels, transform, config.crop.size)[..., 1]
            for frames, transform in clips
        ]
        return np.where(np.stack(grey) >= 128, 255, 0).astype(np.uint8), ""

    return with_fallback(path, config.limits, read)
