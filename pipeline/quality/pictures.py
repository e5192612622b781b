"""A pair as a person sees it: original, fake, mask and what differs, side by side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.quality.measure import clip_masks
from unmask.pipeline.quality.pairs import Pair

SIDE, GAP, TIMES = 200, 4, 4


def pair_picture(pair: Pair, mask: str) -> bytes:
    """JPEG of the middle frame of the middle clip: original | fake | mask | |difference| x 4.

    The mask is white on the darkened original. Raises CacheError for damaged crops.
    """
    clip = pair.clips[len(pair.clips) // 2]
    fake, original = open_video(pair.fake), open_video(pair.original)
    forged, true = fake.read_crops([clip[0]])[0], original.read_crops([clip[1]])[0]
    middle = len(true) // 2
    inside = clip_masks(mask, fake, original, clip, true, forged)[0][middle]
    one, two = true[middle], forged[middle]
    apart = np.abs(one.astype(np.int16) - two) * TIMES
    shown = [one, two, _shaded(one, inside), apart.clip(0, 255).astype(np.uint8)]
    strip = np.full((SIDE, 4 * SIDE + 3 * GAP, 3), 128, np.uint8)
    for place, picture in enumerate(shown):
        left = place * (SIDE + GAP)
        resized = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        strip[:, left : left + SIDE] = resized
    return cv2.imencode(".jpg", strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _shaded(picture: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    shown = picture // 3
    shown[inside] = 255 - (255 - picture[inside]) // 3
    return shown
