"""One detector for several videos of a process, so that a GPU sees the anchors of all of them in
one batch.

Each video decodes, cuts and writes in a thread of its own and asks here for its faces. A batch
leaves when all of them have asked, or when the first has waited long enough: who shares it is
chance, but what is found is not, because every batch has the same shape (BATCH in
pipeline/faces/detector.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.faces.detector import Detector
from unmask.pipeline.records import Detections, View

# Seconds to wait for the other videos: they may be decoding, or be busy with something that takes
# long.
PATIENCE = 0.02


class SharedDetector:
    """The detector of several threads, each of which takes a seat; without seats everybody is
    answered at once.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._lock = threading.RLock()
        self._seats = 0
        self._asked: list[tuple[Sequence[NDArray[np.uint8] | View], Future[list[Detections]]]] = []

    @contextmanager
    def seat(self) -> Iterator[None]:
        """While the block lasts, the others wait for this thread's pictures before their batch
        leaves.
        """
        with self._lock:
            self._seats += 1
        try:
            yield
        finally:
            with self._lock:
                self._seats -= 1
                self._answer_if_complete()

    def detect(self, picture: NDArray[np.uint8] | View) -> Detections:
        """Faces of one picture (H, W, 3) uint8 RGB, largest first, in its pixels."""
        return self.detect_many([picture])[0]

    def detect_many(self, pictures: Sequence[NDArray[np.uint8] | View]) -> list[Detections]:
        """The same for several pictures of any sizes, in order; raises what the detector raises
        for these.
        """
        mine: Future[list[Detections]] = Future()
        try:
            with self._lock:
                self._asked.append((pictures, mine))
                self._answer_if_complete()
            try:
                return mine.result(PATIENCE)
            except TimeoutError:
                with self._lock:  # who holds it may be answering just now
                    if not mine.done():
                        self._answer()
            return mine.result()
        finally:
            del mine  # a fault knows this frame: a circle that would keep the pictures

    def _answer_if_complete(self) -> None:
        if self._asked and len(self._asked) >= self._seats:
            self._answer()

    def _answer(self) -> None:
        """One batch for all that have asked; where that fails each is asked for alone, to fail
        alone.
        """
        asked, self._asked = self._asked, []
        try:
            found = self.detector.detect_many(
                [picture for pictures, _ in asked for picture in pictures]
            )
        except Exception as fault:
            if len(asked) == 1:
                asked[0][1].set_exception(fault)
            else:
                for one in asked:
                    self._asked = [one]
                    self._answer()
                    del one
            del asked
            return
        for pictures, answer in asked:
            answer.set_result(found[: len(pictures)])
            found = found[len(pictures) :]
