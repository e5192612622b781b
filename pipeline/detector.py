"""Find the faces of a picture: the fast cascade, or facenet-pytorch's own MTCNN as the careful reference.

Comes in: an upright RGB picture. Goes out: Detections in pixels of that picture. Both detectors look at the picture
reduced to `detect_size` px on its long side, so that their cost does not grow with the video's resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.cascade import FACTOR, THRESHOLDS, Cascade
from pipeline.config import CropConfig
from pipeline.errors import VideoError
from pipeline.records import Detections
from pipeline.reduce import reduce_to

# Where one person is wanted, faces from LARGE times the smallest size are looked for first, and all sizes only where
# none of these is SURE and CLEARLY above that size: the smallest sizes take three quarters of the first network's
# work, but a face at the edge of the search is placed less well (landmarks 0.09 against 0.06 of the eye distance).
LARGE, SURE, CLEARLY = 2, 0.95, 1.25

# Pictures that a GPU sees at once. No batch has another shape there, few pictures are filled up with black ones: what
# is found in one video must not depend on the videos that share its batches. On a CPU that work would cost time.
BATCH = {"cpu": 0, "cuda": 32}


class Detector(Protocol):
    """What find_crops needs: faces of one picture, or of several at once."""

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels."""
        ...

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """The same for several pictures of any sizes, in order."""
        ...


@contextmanager
def _one_thread() -> Iterator[None]:
    # More threads make detection slower and let boxes depend on the machine's core count.
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _reduce(pixels: NDArray[np.uint8], detect_size: int) -> NDArray[np.uint8]:
    """(H, W, 3) -> (h, w, 3) with a long side of detect_size px; never enlarged, 0 leaves it alone."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"detector: a picture is (H, W, 3) uint8 RGB, got {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape[:2]
    if not detect_size or max(height, width) <= detect_size:
        return pixels
    scale = detect_size / max(height, width)
    return reduce_to(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


def _detections(box: NDArray, landmark: NDArray, prob: NDArray) -> Detections:
    """float32 record, largest area first; equal areas keep the order of the detector."""
    box = np.asarray(box, np.float32).reshape(-1, 4)
    landmark = np.asarray(landmark, np.float32).reshape(-1, 5, 2)
    prob = np.asarray(prob, np.float32).reshape(-1)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    sound = np.isfinite(box).all(1) & np.isfinite(landmark).all((1, 2)) & (area > 0)
    order = np.argsort(-area, kind="stable")
    order = order[sound[order]]
    return Detections(box[order], landmark[order], prob[order])


def _nothing() -> Detections:
    return _detections(np.empty(0), np.empty(0), np.empty(0))


class FastDetector:
    """Our cascade on the MTCNN weights; see pipeline/cascade.py for what it does differently.

    Where config.faces is "main", small faces beside a large one are not looked for; "all" finds every face.
    """

    def __init__(self, config: CropConfig) -> None:
        self.config = config
        self.cascade = Cascade(config.device)
        self.batch = BATCH[config.device]

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels.

        Raises: VideoError("out_of_memory") if even one picture does not fit the device.
        """
        return self.detect_many([pixels])[0]

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """The same for several pictures; those of equal size share a batch, which is halved when memory runs out."""
        found: list[Detections] = [_nothing()] * len(pictures)
        sizes: dict[tuple[int, ...], list[int]] = {}
        for number, picture in enumerate(pictures):
            sizes.setdefault(picture.shape, []).append(number)
        with _one_thread():
            for numbers in sizes.values():
                faces_of = self._batched([pictures[n] for n in numbers], self.batch or len(numbers))
                for number, faces in zip(numbers, faces_of, strict=True):
                    found[number] = faces
        return found

    def _batched(self, pictures: list[NDArray[np.uint8]], step: int) -> list[Detections]:
        found: list[Detections] = []
        while len(found) < len(pictures):
            try:
                found += self._detect_equal(pictures[len(found) : len(found) + step], step if self.batch else 0)
            except torch.OutOfMemoryError as error:
                if step == 1:
                    height, width = pictures[0].shape[:2]
                    raise VideoError("out_of_memory", f"detecting faces in one {width}x{height} picture") from error
                step = (step + 1) // 2
        return found

    def _detect_equal(self, pictures: list[NDArray[np.uint8]], pad: int) -> list[Detections]:
        small = [_reduce(p, self.config.detect_size) for p in pictures]
        found = [_nothing()] * len(pictures)
        if self.config.faces == "main":
            found = self._search(pictures, small, LARGE * self.config.min_face, pad)
        clear = CLEARLY * LARGE * self.config.min_face * pictures[0].shape[1] / small[0].shape[1]
        sure = [faces.box[faces.prob >= SURE] for faces in found]
        rest = [n for n, box in enumerate(sure) if not (box[:, 2:] - box[:, :2] >= clear).all(1).any()]
        finer = self._search([pictures[n] for n in rest], [small[n] for n in rest], self.config.min_face, pad)
        for number, faces in zip(rest, finer, strict=True):
            found[number] = faces
        return found

    def _search(self, pictures: list[NDArray], small: list[NDArray], min_face: int, pad: int) -> list[Detections]:
        """All faces of at least min_face px of the small pictures."""
        if not pictures or min(small[0].shape[:2]) < min_face:
            return [_nothing()] * len(pictures)
        faces = self.cascade(pictures, small, min_face, self.config.candidates, pad)
        return [_detections(*face) for face in faces]


class StockDetector:
    """facenet_pytorch.MTCNN(keep_all=True) as its authors wrote it: the reference, and the careful choice."""

    def __init__(self, config: CropConfig) -> None:
        from facenet_pytorch import MTCNN  # seconds to import: only where faces are looked for

        self.config = config
        self.mtcnn = MTCNN(
            keep_all=True,
            min_face_size=config.min_face,
            thresholds=list(THRESHOLDS),
            factor=FACTOR,
            device=torch.device(config.device),
        )

    def detect(self, pixels: NDArray[np.uint8]) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels.

        Raises: VideoError("out_of_memory") if the picture does not fit the device.
        """
        small = _reduce(pixels, self.config.detect_size)
        if min(small.shape[:2]) < self.config.min_face:
            return _nothing()  # MTCNN would raise from an empty pyramid
        with _one_thread():
            try:
                box, prob, landmark = self.mtcnn.detect(small, landmarks=True)
            except torch.OutOfMemoryError as error:
                height, width = small.shape[:2]
                raise VideoError("out_of_memory", f"detecting faces in one {width}x{height} picture") from error
        if box is None:
            return _nothing()
        scale = np.array([pixels.shape[1] / small.shape[1], pixels.shape[0] / small.shape[0]])
        # With numpy 2 the arrays come as dtype object.
        box, landmark = np.asarray(box, np.float64), np.asarray(landmark, np.float64)
        return _detections(box * np.tile(scale, 2), (landmark + 0.5) * scale - 0.5, np.asarray(prob, np.float64))

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """The same for several pictures, one after the other: batches were measured to gain nothing here."""
        return [self.detect(picture) for picture in pictures]


def build_detector(config: CropConfig) -> Detector:
    """The detector that the settings name, with its weights loaded; takes seconds, keep it for the whole run."""
    return FastDetector(config) if config.detector == "fast" else StockDetector(config)
