"""Find the faces of a picture: the fast cascade, or facenet-pytorch's own MTCNN as the careful
reference.

Comes in: an upright RGB picture. Goes out: Detections in pixels of that picture. Both detectors
look at the picture reduced to `detect_size` px on its long side, so that their cost does not grow
with the video's resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.config import CropConfig
from unmask.pipeline.decode.resize import Whole, reduce_to
from unmask.pipeline.errors import VideoError
from unmask.pipeline.faces.cascade import FACTOR, THRESHOLDS, Cascade
from unmask.pipeline.records import Detections, View

# Where one person is wanted, faces from LARGE times the smallest size are looked for first, and all
# sizes only where none of these is SURE and CLEARLY above that size: the smallest sizes take three
# quarters of the first network's work, but a face at the edge of the search is placed less well
# (landmarks 0.09 against 0.06 of the eye distance).
LARGE, SURE, CLEARLY = 2, 0.95, 1.25

# Pictures that a GPU sees at once. Unless memory runs out no batch has another shape there, few
# pictures are filled
# up with black ones: what is found in one video must not depend on the videos that share its
# batches. On a CPU that work would cost time.
BATCH = {"cpu": 0, "cuda": 32}


class Detector(Protocol):
    """What find_crops needs: faces of one picture, or of several at once."""

    def detect(self, picture: NDArray[np.uint8] | View) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels."""
        ...

    def detect_many(self, pictures: Sequence[NDArray[np.uint8] | View]) -> list[Detections]:
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


def _view(picture: NDArray[np.uint8] | View) -> View:
    return Whole(picture) if isinstance(picture, np.ndarray) else picture


def _reduce(view: View, detect_size: int) -> NDArray[np.uint8]:
    """(H, W, 3) -> (h, w, 3) with a long side of detect_size px; never enlarged, 0 leaves it
    alone.
    """
    if not detect_size or max(view.height, view.width) <= detect_size:
        return view.pixels()
    scale = detect_size / max(view.height, view.width)
    width, height = max(1, round(view.width * scale)), max(1, round(view.height * scale))
    twice = min(view.width / width, view.height / height) >= 2
    return reduce_to(view.half() if twice else view.pixels(), width, height)


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
    """Our cascade on the MTCNN weights; see pipeline/faces/cascade.py for what it does differently.

    Where config.faces is "main", small faces beside a large one are not looked for; "all" finds
    every face.
    """

    def __init__(self, config: CropConfig) -> None:
        self.config = config
        self.cascade = Cascade(config.device)
        self.batch = BATCH[config.device]

    def detect(self, picture: NDArray[np.uint8] | View) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels.

        Raises: VideoError("out_of_memory") if even one picture does not fit the device.
        """
        return self.detect_many([picture])[0]

    def detect_many(self, pictures: Sequence[NDArray[np.uint8] | View]) -> list[Detections]:
        """The same for several pictures; those of equal size share a batch, which is halved when
        memory runs out.
        """
        found: list[Detections] = [_nothing()] * len(pictures)
        views = [_view(picture) for picture in pictures]
        sizes: dict[tuple[int, int], list[int]] = {}
        for number, view in enumerate(views):
            sizes.setdefault((view.height, view.width), []).append(number)
        with _one_thread():
            for numbers in sizes.values():
                faces_of = self._batched([views[n] for n in numbers], self.batch or len(numbers))
                for number, faces in zip(numbers, faces_of, strict=True):
                    found[number] = faces
        return found

    def _batched(self, views: list[View], step: int) -> list[Detections]:
        found: list[Detections] = []
        while len(found) < len(views):
            try:
                found += self._detect_equal(
                    views[len(found) : len(found) + step], step if self.batch else 0
                )
            except torch.OutOfMemoryError as error:
                if step == 1:
                    one = f"one {views[0].width}x{views[0].height} picture"
                    raise VideoError("out_of_memory", f"detecting faces in {one}") from error
                step = (step + 1) // 2
        return found

    def _detect_equal(self, views: list[View], pad: int) -> list[Detections]:
        small = [_reduce(view, self.config.detect_size) for view in views]
        found = [_nothing()] * len(views)
        if self.config.faces == "main":
            found = self._search(views, small, LARGE * self.config.min_face, pad)
        clear = CLEARLY * LARGE * self.config.min_face * views[0].width / small[0].shape[1]
        sure = [faces.box[faces.prob >= SURE] for faces in found]
        rest = [
            n for n, box in enumerate(sure) if not (box[:, 2:] - box[:, :2] >= clear).all(1).any()
        ]
        finer = self._search(
            [views[n] for n in rest], [small[n] for n in rest], self.config.min_face, pad
        )
        for number, faces in zip(rest, finer, strict=True):
            found[number] = faces
        return found

    def _search(
        self, views: list[View], small: list[NDArray], min_face: int, pad: int
    ) -> list[Detections]:
        """All faces of at least min_face px of the small pictures."""
        if not views or min(small[0].shape[:2]) < min_face:
            return [_nothing()] * len(views)
        faces = self.cascade(views, small, min_face, self.config.candidates, pad)
        return [_detections(*face) for face in faces]


class StockDetector:
    """facenet_pytorch.MTCNN(keep_all=True) as its authors wrote it: the reference, and the careful
    choice.
    """

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

    def detect(self, picture: NDArray[np.uint8] | View) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels.

        Raises: VideoError("out_of_memory") if the picture does not fit the device.
        """
        view = _view(picture)
        small = _reduce(view, self.config.detect_size)
        if min(small.shape[:2]) < self.config.min_face:
            return _nothing()  # MTCNN would raise from an empty pyramid
        with _one_thread():
            try:
                box, prob, landmark = self.mtcnn.detect(small, landmarks=True)
            except torch.OutOfMemoryError as error:
                height, width = small.shape[:2]
                raise VideoError(
                    "out_of_memory", f"detecting faces in one {width}x{height} picture"
                ) from error
        if box is None:
            return _nothing()
        scale = np.array([view.width / small.shape[1], view.height / small.shape[0]])
        # With numpy 2 the arrays come as dtype object.
        box, landmark = np.asarray(box, np.float64), np.asarray(landmark, np.float64)
        return _detections(
            box * np.tile(scale, 2), (landmark + 0.5) * scale - 0.5, np.asarray(prob, np.float64)
        )

    def detect_many(self, pictures: Sequence[NDArray[np.uint8] | View]) -> list[Detections]:
        """The same for several pictures, one after the other: batches were measured to gain
        nothing here.
        """
        return [self.detect(picture) for picture in pictures]


def build_detector(config: CropConfig) -> Detector:
    """The detector that the settings name, with its weights loaded; takes seconds, keep it for the
    whole run.
    """
    return FastDetector(config) if config.detector == "fast" else StockDetector(config)
