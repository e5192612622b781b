"""The default detector against facenet-pytorch's MTCNN on whole frames: speed, and agreement on
the largest face.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmarks import media
from benchmarks.rows import Row, alternate
from unmask.pipeline.config import CropConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import spread_clips
from unmask.pipeline.faces.detector import Detector, build_detector
from unmask.pipeline.faces.tracks import overlap
from unmask.pipeline.machine.worker_pool import settle
from unmask.pipeline.records import Detections

SHIFT = (
    3  # px; what the stock detector makes of a frame moved by so little is the noise it has anyway
)
FOUND = 0.3


def rows(scratch: Path, full: bool) -> list[Row]:
    """On 16 anchors of a talking head; in the full form 48, and the crowd."""
    settle()
    fast = build_detector(CropConfig())
    stock = build_detector(CropConfig(detector="stock", detect_size=0, min_face=20))
    sources = [media.TALKING, *([media.CROWD] if full and media.real_folder() else [])]
    found = []
    for source in sources:
        for size in media.SIZES:
            clip = media.make(scratch, size, "4:2:0", source=source)
            name = f"{source.split('_')[1]} {size}" if media.real_folder() else f"drawn {size}"
            found += _measure(name, _anchors(clip.path, 48 if full else 16), fast, stock)
    return found


def _anchors(path: Path, count: int) -> list[np.ndarray]:
    info = scan(path, Limits())
    return [
        clip.picture(0) for clip in decode_clips(path, info, spread_clips(info.frames, count, 1))
    ]


def _measure(name: str, pictures: list[np.ndarray], fast: Detector, stock: Detector) -> list[Row]:
    kept: dict[str, list[Detections]] = {}

    def look(who: str, detector: Detector) -> None:
        kept[who] = [detector.detect(picture) for picture in pictures]

    fast.detect(pictures[0])
    seconds = alternate(
        {"fast": lambda: look("fast", fast), "stock": lambda: look("stock", stock)}, 2
    )
    height, width = pictures[0].shape[:2]
    move = np.float32([[1, 0, SHIFT], [0, 1, SHIFT]])
    moved = [
        stock.detect(cv2.warpAffine(p, move, (width, height), borderMode=cv2.BORDER_REPLICATE))
        for p in pictures
    ]
    iou, error, missed = agreement(kept["stock"], kept["fast"], 0)
    floor_iou, floor_error, floor_missed = agreement(kept["stock"], moved, SHIFT)
    ours, other = (1000 * seconds[who].wall / len(pictures) for who in ("fast", "stock"))
    note = f"{len(pictures)} frames, {ours:.1f} ms against {other:.0f} ms"
    return [
        Row(f"detector, {name}", "stock at full size", other / ours, 12.0, note),
        Row(
            f"box IoU of the largest face, {name}",
            f"stock moved by {SHIFT} px",
            iou,
            floor_iou - 0.02,
            f"floor {floor_iou:.3f} (target 0.02 below it), {missed} missed, floor {floor_missed}",
        ),
        Row(
            f"landmark error / eye distance, {name}",
            f"stock moved by {SHIFT} px",
            error,
            floor_error + 0.02,
            f"floor {floor_error:.3f} (target 0.02 above it)",
            most=True,
        ),
    ]


def agreement(
    reference: list[Detections], found: list[Detections], shift: int
) -> tuple[float, float, int]:
    """Median IoU and landmark error of the find nearest to the reference's largest face; how often
    none is near.
    """
    ious, errors, missed = [], [], 0
    for known, faces in zip(reference, found, strict=True):
        if not len(known):
            continue
        same = [overlap(known.box[0], box - shift) for box in faces.box]
        if not same or max(same) < FOUND:
            missed += 1
            continue
        best = int(np.argmax(same))
        ious.append(same[best])
        eyes = np.linalg.norm(known.landmark[0, 0] - known.landmark[0, 1])
        away = np.linalg.norm(faces.landmark[best] - shift - known.landmark[0], axis=1)
        errors.append(float(away.mean() / eyes))
    return float(np.median(ious)), float(np.median(errors)), missed
