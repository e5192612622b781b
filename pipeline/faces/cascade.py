"""The three MTCNN networks as a thin cascade: pictures in, faces out, several times faster than the
stock loop.

Zhang, Zhang, Li, Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks" (2016), with the weights, thresholds and box arithmetic of facenet-pytorch, whose MTCNN is
the reference in the tests. Ours because detection, not decoding, limits extraction. What differs:
the pyramid is built from uint8 pictures, only the best candidates of the first network go on, and a
face is read from the smallest picture in which it is large enough: a small one from the full
picture, so that landmarks keep its precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.decode.resize import halve
from unmask.pipeline.faces.networks import Net, stock_weights
from unmask.pipeline.records import View

THRESHOLDS = (0.6, 0.7, 0.7)
FACTOR = 0.709
CELL, STRIDE = 12, 2  # first network: px it sees, px between two looks
REFINED = 24  # second network: px it sees; the third sees twice as many

# Crops per forward pass: 64 fit the cache of one core, a GPU wants more.
CPU_CHUNK, CUDA_CHUNK = 64, 1024


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@dataclass(frozen=True, slots=True)
class Boxes:
    """What one network says of n places in a batch of pictures.

    box: (n, 4) float64, x1 y1 x2 y2 px: where it looked.
    score: (n,) face logit.
    offset: (n, 4) its correction of the box, in units of the box's width and height.
    landmark: (n, 10) five x, then five y, in units of the box; (n, 0) of the first two networks.
    picture: (n,) int64, the picture of the batch.
    """

    box: NDArray
    score: NDArray
    offset: NDArray
    landmark: NDArray
    picture: NDArray[np.int64]

    @staticmethod
    def of(said: NDArray, box: NDArray, picture: NDArray[np.int64]) -> Boxes:
        """From the (n, 5 or 15) columns of a network's head."""
        return Boxes(box, said[:, 0], said[:, 1:5], said[:, 5:], picture)

    @staticmethod
    def joined(parts: Sequence[Boxes]) -> Boxes:
        return Boxes(
            np.concatenate([part.box for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.offset for part in parts]),
            np.concatenate([part.landmark for part in parts]),
            np.concatenate([part.picture for part in parts]),
        )

    def take(self, index: NDArray) -> Boxes:
        return Boxes(
            self.box[index],
            self.score[index],
            self.offset[index],
            self.landmark[index],
            self.picture[index],
        )

    def above(self, probability: float) -> Boxes:
        return self.take(self.score > _logit(probability))

    def apart(self, overlap: float) -> Boxes:
        """Without those that overlap a better one of their picture; best score first."""
        return self.take(suppress(self.box, self.score, self.picture, overlap))

    def moved(self, grow: float) -> NDArray:
        """(n, 4) boxes moved by the offsets.

        grow: px added to their sides before, 1 where a box counts its last pixel.
        """
        side = self.box[:, 2:] - self.box[:, :2] + grow
        return self.box + self.offset * np.tile(side, 2)

    def points(self) -> NDArray:
        """(n, 5, 2) landmarks px."""
        corner, side = self.box[:, :2], self.box[:, 2:] - self.box[:, :2] + 1
        # (n, 10) -> (n, 2, 5) -> (n, 5, 2)
        unit = self.landmark.reshape(-1, 2, 5).transpose(0, 2, 1)
        return unit * side[:, None] + corner[:, None] - 1


def suppress(box: NDArray, score: NDArray, group: NDArray, overlap: float) -> NDArray[np.int64]:
    """Non-maximum suppression within each group; indices of the kept boxes, best score (above 0)
    first.

    OpenCV's, which keeps the same boxes as torchvision's: to load that takes 150 MB and a second
    from every worker.
    """
    apart = box + (group * (np.abs(box).max(initial=0) * 2 + 1))[:, None]
    corner_and_side = np.column_stack([apart[:, :2], apart[:, 2:] - apart[:, :2]])
    kept = cv2.dnn.NMSBoxes(corner_and_side, score.astype(np.float32), 0.0, overlap)
    return np.asarray(kept, np.int64).reshape(-1)


def _suppress_contained(box: NDArray, score: NDArray, overlap: float) -> list[int]:
    """The last suppression of MTCNN: overlap is measured against the smaller of two boxes."""
    area = (box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1)
    order, kept = np.argsort(-score, kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner = (
            np.minimum(box[best, 2:], box[order, 2:])
            - np.maximum(box[best, :2], box[order, :2])
            + 1
        )
        inter = np.maximum(corner, 0).prod(1)
        order = order[inter <= overlap * np.minimum(area[best], area[order])]
    return kept


def _square(box: NDArray) -> NDArray:
    """(n, 4) boxes grown to squares about their centres."""
    centre, side = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).max(1, keepdims=True)
    return np.concatenate([centre - side / 2, centre + side / 2], 1)


def _pyramid(
    halves: Sequence[NDArray[np.uint8]], min_face: int
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """A picture reduced step by step until 12 px is its short side: (scale, level), large to small.

    halves: the picture, half of it, a quarter ... The first two levels come from the smallest of
    them that is large enough, each further one from the one two above, twice its size: as good as
    from the picture and far less work.
    """
    height, width = halves[0].shape[:2]
    scale, made = CELL / min_face, []
    while min(height, width) * scale >= CELL:
        size = max(CELL, round(width * scale)), max(CELL, round(height * scale))
        source = made[-2] if len(made) > 1 else _smallest(halves, size)
        made.append(cv2.resize(source, size, interpolation=cv2.INTER_AREA))
        yield scale, made[-1]
        scale *= FACTOR


def _smallest(halves: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The last of the halves that is not smaller than `size` (width, height), the first if all
    are.
    """
    large = [half for half in halves if half.shape[1] >= size[0] and half.shape[0] >= size[1]]
    return large[-1] if large else halves[0]


def _halves(pictures: Sequence[NDArray[np.uint8]], least: int) -> Iterator[list[NDArray[np.uint8]]]:
    """The pictures at half their size, again and again, as long as their short side has `least`
    px.
    """
    while min(pictures[0].shape[:2]) >= 2 * least:
        pictures = [halve(picture) for picture in pictures]
        yield pictures


class _Sizes:
    """The pictures of a batch in all sizes: the whole ones, the reduced ones, and halves of these.

    reduced: level 1, 2 ...
    whole: (width, height) px.
    shrink: (2,) from whole to level 1.
    scale: of each level.
    """

    def __init__(self, full: Sequence[View], small: Sequence[NDArray[np.uint8]]) -> None:
        self.full, self.reduced = full, [small, *_halves(small, REFINED)]
        self.whole = np.array([full[0].width, full[0].height])
        self.shrink = np.array(small[0].shape[1::-1]) / self.whole
        self.scale = np.array([[1, 1], *(self.shrink / 2**n for n in range(len(self.reduced)))])

    def picture(self, level: int, number: int) -> NDArray[np.uint8]:
        """One of them; a whole one is level 0, and converted only where a small face is to be read
        from it.
        """
        return self.reduced[level - 1][number] if level else self.full[number].pixels()


class Cascade:
    """P-Net, R-Net and O-Net over pictures of equal size.

    __call__(full, small, min_face, candidates): full B views of (H, W, 3), small the same reduced
    to (h, w, 3) uint8; faces are looked for in `small` (min_face in its pixels) and returned in
    pixels of `full`: for each picture box (F, 4), landmark (F, 5, 2), prob (F,), float64, no order.
    pad: at least B, to which every batch of pictures is filled up, as those of crops are to
    `chunk`, so that a picture's faces do not depend on the others; 0 for batches as they come.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.chunk = CPU_CHUNK if device == "cpu" else CUDA_CHUNK
        self.pnet = Net(stock_weights("pnet"), (2, 0, 0), "", ("conv4_1", "conv4_2"), device)
        self.rnet = Net(
            stock_weights("rnet"), (3, 3, 0), "dense4", ("dense5_1", "dense5_2"), device
        )
        self.onet = Net(
            stock_weights("onet"),
            (3, 3, 2, 0),
            "dense5",
            ("dense6_1", "dense6_2", "dense6_3"),
            device,
        )

    @torch.inference_mode()
    def __call__(
        self,
        full: Sequence[View],
        small: Sequence[NDArray],
        min_face: int,
        candidates: int,
        pad: int = 0,
    ) -> list[tuple[NDArray, NDArray, NDArray]]:
        sizes = _Sizes(full, small)
        crops_pad = self.chunk if pad else 0
        first = self._propose(sizes.reduced, min_face, candidates, pad)
        box = _square(first.moved(0) / np.tile(sizes.shrink, 2))
        second = self._look(self.rnet, REFINED, sizes, box, first.picture, crops_pad)
        second = second.above(THRESHOLDS[1]).apart(0.7)
        box = _square(second.moved(1))
        third = self._look(self.onet, 2 * REFINED, sizes, box, second.picture, crops_pad)
        third = third.above(THRESHOLDS[2])
        box, landmark = third.moved(1), third.points()
        prob = 1 / (1 + np.exp(-third.score.astype(np.float64)))
        faces = []
        for number in range(len(full)):
            mine = np.flatnonzero(third.picture == number)
            mine = mine[_suppress_contained(box[mine], prob[mine], 0.7)]
            faces.append((box[mine], landmark[mine], prob[mine]))
        return faces

    def _propose(
        self, levels: Sequence[Sequence[NDArray]], min_face: int, candidates: int, pad: int
    ) -> Boxes:
        """First network over the pyramid: its best candidates in px of the small pictures."""
        found = [Boxes.of(np.empty((0, 5), np.float32), np.empty((0, 4)), np.empty(0, np.int64))]
        pyramids = [_pyramid(halves, min_face) for halves in zip(*levels, strict=True)]
        for steps in zip(*pyramids, strict=True):  # the same step of every picture
            scale = steps[0][0]
            pictures = np.stack([picture for _, picture in steps])
            at, said = self.pnet.where(pictures, _logit(THRESHOLDS[0]), pad)
            if len(at):
                picture, row, column = at.cpu().numpy().T
                corner = STRIDE * np.stack([column, row], 1) + 1
                box = np.floor(np.concatenate([corner, corner + CELL - 1], 1) / scale)
                found.append(Boxes.of(said.cpu().numpy(), box, picture).apart(0.5))
        best = Boxes.joined(found).apart(0.7)
        if not candidates:
            return best
        numbers = range(len(levels[0]))
        kept = [np.flatnonzero(best.picture == number)[:candidates] for number in numbers]
        return best.take(np.concatenate(kept))

    def _look(
        self,
        net: Net,
        side: int,
        sizes: _Sizes,
        box: NDArray,
        picture: NDArray[np.int64],
        pad: int,
    ) -> Boxes:
        """One network on the boxes (n, 4) of the full pictures (n,) that lie in their picture."""
        edge = np.trunc(np.clip(box, -1e6, 1e6)).astype(np.int64)
        low, high = np.maximum(edge[:, :2], 1) - 1, np.minimum(edge[:, 2:], sizes.whole)
        inside = np.flatnonzero((high > low).all(1))
        low, high, box, picture = low[inside], high[inside], box[inside], picture[inside]
        # From the smallest pictures in which a box is still as large as the network wants it, else
        # from the full.
        room = ((high - low) * sizes.shrink).min(1) / side
        level = np.clip(np.floor(np.log2(room)) + 1, 0, len(sizes.reduced)).astype(np.int64)
        scale = sizes.scale[level]
        low, high = low * scale, high * scale
        step = (high - low) / side
        crops = np.empty((len(inside), side, side, 3), np.uint8)
        # (n, 2, 3): pixel of a crop -> place in its picture, where whole numbers are the middles of
        # pixels
        places = np.stack([step[:, :1] * [1, 0], step[:, 1:] * [0, 1], low + step / 2 - 0.5], 2)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        sources = [
            sizes.picture(n, number)
            for n, number in zip(level.tolist(), picture.tolist(), strict=True)
        ]
        for crop, source, place in zip(crops, sources, places, strict=True):
            cv2.warpAffine(
                source, place, (side, side), dst=crop, flags=how, borderMode=cv2.BORDER_REPLICATE
            )
        # Where two pixels lie further apart than 2, others would be jumped over.
        for n in np.flatnonzero(step.max(1) > 2):
            (x1, y1), (x2, y2) = np.rint([low[n], high[n]]).astype(int)
            cv2.resize(
                sources[n][y1:y2, x1:x2], (side, side), dst=crops[n], interpolation=cv2.INTER_AREA
            )
        said = [
            net(crops[k : k + self.chunk], pad).cpu().numpy()
            for k in range(0, len(crops), self.chunk)
        ]
        columns = len(net.head[1])
        return Boxes.of(
            np.concatenate(said) if said else np.empty((0, columns), np.float32), box, picture
        )
