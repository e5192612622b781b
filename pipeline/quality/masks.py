"""Where a fake is forged: three definitions, whose values are not comparable with each other."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

PUBLISHED, DIFFERENCE, FACE = "published", "difference", "face"
DEFINITIONS = {
    PUBLISHED: "the data set's own mask, cut with the face's transform",
    DIFFERENCE: "where fake and original differ by more than 10 grey levels, smoothed over 4 px",
    FACE: "an ellipse around eyes and mouth",
}
# Of the difference mask: least difference, px of smoothing, and the share of a crop above which it
# shows compression and no forgery.
LEVELS, SMOOTH, MOST = 10, 4.0, 0.6
# Half-axes of the face in distances of the eyes: across and along it.
ACROSS, ALONG = 1.1, 1.5


def difference_mask(original: NDArray[np.uint8], fake: NDArray[np.uint8]) -> Mask | None:
    """(S, S) where two crops (S, S, 3) differ; None where they differ nowhere or nearly everywhere
    (heavy compression). Ours, for data sets without masks.
    """
    levels = np.abs(original.astype(np.int16) - fake).max(axis=2)
    mask = cv2.GaussianBlur((levels > LEVELS).astype(np.float32), (0, 0), SMOOTH) > 0.5
    return mask if 0 < mask.mean() <= MOST else None


def face_mask(landmark: NDArray, transform: NDArray, side: int) -> Mask:
    """(side, side) ellipse of the aligned face. Ours.

    landmark: (5, 2) px of the video's frame: eyes, nose, corners of the mouth. transform: (2, 3) to
        px of the crop.
    """
    points = landmark @ transform[:, :2].T + transform[:, 2]  # (5, 2) px of the crop
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    distance = max(float(np.linalg.norm(points[1] - points[0])), 1.0)
    axis = mouth - eyes
    length = float(np.linalg.norm(axis))
    along = axis / length if length > 0 else np.array([0.0, 1.0])
    across = np.array([-along[1], along[0]])
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1)  # (side, side, 2) x, y
    offset = (grid - (eyes + mouth) / 2) / distance
    return ((offset @ across) / ACROSS) ** 2 + ((offset @ along) / ALONG) ** 2 <= 1
