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
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unmask.pipeline.decode.resize import halve
from unmask.pipeline.errors import PipelineError
from unmask.pipeline.records import View

THRESHOLDS = (0.6, 0.7, 0.7)
FACTOR = 0.709
CELL, STRIDE = 12, 2  # first network: px it sees, px between two looks
REFINED = 24  # second network: px it sees; the third sees twice as many

# Crops per forward pass: 64 fit the cache of one core, a GPU wants more.
CPU_CHUNK, CUDA_CHUNK = 64, 1024


def _halve(x: Tensor, axis: int, window: int) -> Tensor:
    """Maximum of each `window` at stride 2 along one axis of (n, h, w, c), the last window cut at
    the border.
    """
    length = x.shape[axis]
    out = -(-(length - window) // 2) + 1
    first, second = (x[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
    if second.shape[axis] >= out:
        y = torch.maximum(first.narrow(axis, 0, out), second.narrow(axis, 0, out))
    else:
        y = first.narrow(axis, 0, out).clone()
        head = y.narrow(axis, 0, second.shape[axis])
        torch.maximum(head, second, out=head)
    if window == 3:
        third = first.narrow(axis, 1, first.shape[axis] - 1)
        head = y.narrow(axis, 0, min(out, third.shape[axis]))
        torch.maximum(head, third.narrow(axis, 0, head.shape[axis]), out=head)
    return y


def max_pool(x: Tensor, window: int) -> Tensor:
    """`max_pool2d(x, window, 2, ceil_mode=True)` of a channels-last (n, c, h, w) for windows 2 and
    3.

    Ours because torch's keeps indices and takes 2 to 6 times as long on this memory layout.
    """
    y = x.permute(0, 2, 3, 1)
    return _halve(_halve(y, 1, window), 2, window).permute(0, 3, 1, 2)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`functional.prelu` of a channels-last (n, c, h, w), the same values.

    Ours because torch's goes pixel by pixel, and with the first network's 10 channels hardly two
    vectors at a time: that network took 1.2 to 1.6 times as long. Here a whole row of pixels is one
    axis of slopes.
    """
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h, w * c)
    return (
        functional.prelu(rows, slope.expand(w, c).reshape(-1)).view(n, h, w, c).permute(0, 3, 1, 2)
    )


class Net:
    """One network of the cascade for raw uint8 pixels: convolutions, one dense layer (not in the
    first), one head.

    __call__: (n, h, w, 3) uint8 -> (n, ..., 5 or 15) float32: face logit, 4 box offsets, 10
    landmark coordinates.
    pad: filled up with black to so many pictures. What a network says differs in the last bit from
    one shape to the next, as other kernels are chosen; in batches of one shape a picture is told
    the same whatever lies beside it.
    """

    def __init__(
        self,
        part: Mapping[str, Tensor],
        pools: Sequence[int],
        dense: str,
        heads: Sequence[str],
        device: str,
    ) -> None:
        self.device = device
        self.layers = []
        for number, pool in enumerate(pools, 1):
            weight, bias, slope = (
                part[f"{name}{number}.{kind}"]
                for name, kind in (("conv", "weight"), ("conv", "bias"), ("prelu", "weight"))
            )
            if (
                number == 1
            ):  # (pixel - 127.5) / 128 goes into the first convolution, which has no padding
                bias = bias - weight.sum((1, 2, 3)) * (127.5 / 128)
                weight = weight / 128
            weight = weight.to(device).contiguous(memory_format=torch.channels_last)
            self.layers.append((weight, bias.to(device), slope.to(device), pool))
        self.dense = None
        if dense:
            weight, channels = part[f"{dense}.weight"], self.layers[-1][0].shape[0]
            side = math.isqrt(weight.shape[1] // channels)
            # The weights expect (w, h, c); turned once here, the channels-last activations (h, w,
            # c) need no copy.
            weight = weight.view(-1, side, side, channels).transpose(1, 2).reshape(len(weight), -1)
            slope = part[f"prelu{dense[-1]}.weight"]
            self.dense = (weight.to(device), part[f"{dense}.bias"].to(device), slope.to(device))
        weight, bias = (
            torch.cat(
                [part[f"{name}.{kind}"].flatten(1 if kind == "weight" else 0) for name in heads]
            )
            for kind in ("weight", "bias")
        )
        # The first two rows are the logits of no face and face; softmax depends on their difference
        # only.
        self.head = tuple(
            torch.cat([rows[1:2] - rows[0:1], rows[2:]]).to(device) for rows in (weight, bias)
        )

    def __call__(self, pictures: NDArray[np.uint8], pad: int = 0) -> Tensor:
        return functional.linear(self.features(pictures, pad), *self.head)[: len(pictures)]

    def where(
        self, pictures: NDArray[np.uint8], logit: float, pad: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Places (m, 3) as picture, row, column whose face logit reaches a limit, and what is said
        there (m, 5).

        Offsets are worked out for these few only, which saves most of the head; in a batch of one
        shape for all.
        """
        x = self.features(pictures, pad)
        weight, bias = self.head
        if pad:
            said = functional.linear(x, weight, bias)[: len(pictures)]
            places = (said[..., 0] >= logit).nonzero()
            return places, said[tuple(places.T)]
        places = (functional.linear(x, weight[:1], bias[:1])[..., 0] >= logit).nonzero()
        return places, functional.linear(x[tuple(places.T)], weight, bias)

    def features(self, pictures: NDArray[np.uint8], pad: int = 0) -> Tensor:
        """What the head sees: (n, h, w, c) of the first network, (n, c) of the others; n is at
        least `pad`.
        """
        x = torch.from_numpy(pictures).to(self.device)
        if len(x) < pad:
            x = torch.cat([x, x.new_zeros((pad - len(x), *x.shape[1:]))])
        x = x.permute(0, 3, 1, 2).float()  # (n, 3, h, w)
        for weight, bias, slope, pool in self.layers:
            x = prelu(functional.conv2d(x, weight, bias), slope)
            if pool:
                x = max_pool(x, pool)
        x = x.permute(0, 2, 3, 1)  # (n, h, w, c)
        if self.dense:
            weight, bias, slope = self.dense
            x = functional.prelu(functional.linear(x.flatten(1), weight, bias), slope)
        return x


def stock_weights(name: str) -> dict[str, Tensor]:
    """The weights of `pnet`, `rnet` or `onet` as facenet-pytorch ships them.

    Read from its package without importing it, which would load torchvision (see _suppress).
    Raises: PipelineError where they are not there.
    """
    package = find_spec("facenet_pytorch")
    folder = Path(package.origin or ".").parent / "data" if package else Path()
    try:
        return torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
    except OSError as error:
        raise PipelineError(
            f"{name}.pt of facenet-pytorch: {error}; pip install --force-reinstall "
            "facenet-pytorch==2.5.3"
        ) from error


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _suppress(box: NDArray, score: NDArray, group: NDArray, overlap: float) -> NDArray[np.int64]:
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


def _shift(box: NDArray, offset: NDArray, grow: float) -> NDArray:
    """(n, 4) boxes moved by the network's offsets, which are in units of box width and height."""
    side = box[:, 2:] - box[:, :2] + grow
    return box + offset * np.tile(side, 2)


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
        box, group = self._propose(sizes.reduced, min_face, candidates, pad)
        box = _square(box / np.tile(sizes.shrink, 2))
        room = self.chunk if pad else 0
        box, group = self._refine(sizes, box, group, room)
        box, landmark, prob, group = self._output(sizes, box, group, room)
        faces = []
        for number in range(len(full)):
            mine = np.flatnonzero(group == number)
            mine = mine[_suppress_contained(box[mine], prob[mine], 0.7)]
            faces.append((box[mine], landmark[mine], prob[mine]))
        return faces

    def _propose(
        self, levels: Sequence[Sequence[NDArray]], min_face: int, candidates: int, pad: int
    ) -> tuple[NDArray, NDArray]:
        """First network over the pyramid: candidates (n, 4) in px of the small pictures, and whose
        they are (n,).
        """
        found, steps = [np.empty((0, 11))], 0
        halves_of = zip(*levels, strict=True)
        for step, pictures in enumerate(
            zip(*(_pyramid(halves, min_face) for halves in halves_of), strict=True)
        ):
            scale, steps = pictures[0][0], step + 1
            at, said = self.pnet.where(
                np.stack([picture for _, picture in pictures]), _logit(THRESHOLDS[0]), pad
            )
            if len(at):
                values, at = said.cpu().numpy(), at.cpu().numpy()
                corner = STRIDE * at[:, [2, 1]] + 1
                box = np.floor(np.concatenate([corner, corner + CELL - 1], 1) / scale)
                found.append(np.column_stack([box, values, at[:, 0], np.full(len(at), step)]))
        every = np.concatenate(found)  # x1 y1 x2 y2, logit, four offsets, picture, step
        box, score, group = every[:, :4], every[:, 4], every[:, 9]
        kept = _suppress(box, score, group * steps + every[:, 10], 0.5)
        kept = kept[_suppress(box[kept], score[kept], group[kept], 0.7)]
        if candidates:
            kept = np.concatenate(
                [kept[group[kept] == number][:candidates] for number in range(len(levels[0]))]
            )
        return _shift(box[kept], every[kept, 5:9], 0), group[kept].astype(np.int64)

    def _look(
        self, net: Net, side: int, sizes: _Sizes, box: NDArray, group: NDArray, pad: int
    ) -> tuple:
        """One network on the boxes that lie in their picture: which of them (m,), and what it said
        (m, 5 or 15).
        """
        edge = np.trunc(np.clip(box, -1e6, 1e6)).astype(np.int64)
        low, high = np.maximum(edge[:, :2], 1) - 1, np.minimum(edge[:, 2:], sizes.whole)
        inside = np.flatnonzero((high > low).all(1))
        low, high, group = low[inside], high[inside], group[inside]
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
            for n, number in zip(level.tolist(), group.tolist(), strict=True)
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
        return inside, np.concatenate(said) if said else np.empty((0, columns), np.float32)

    def _refine(
        self, sizes: _Sizes, box: NDArray, group: NDArray, pad: int
    ) -> tuple[NDArray, NDArray]:
        """Second network: the boxes it believes in, moved and squared, px of the full pictures."""
        inside, said = self._look(self.rnet, REFINED, sizes, box, group, pad)
        said, inside = said[sure := said[:, 0] > _logit(THRESHOLDS[1])], inside[sure]
        box, group = box[inside], group[inside]
        kept = _suppress(box, said[:, 0], group, 0.7)
        return _square(_shift(box[kept], said[kept, 1:5], 1)), group[kept]

    def _output(self, sizes: _Sizes, box: NDArray, group: NDArray, pad: int) -> tuple:
        """Third network: box (n, 4), landmark (n, 5, 2), prob (n,) and picture (n,) of what it
        believes in.
        """
        inside, said = self._look(self.onet, 2 * REFINED, sizes, box, group, pad)
        said, inside = said[sure := said[:, 0] > _logit(THRESHOLDS[2])], inside[sure]
        box = box[inside]
        corner, side = box[:, :2], box[:, 2:] - box[:, :2] + 1
        # (n, 10): five x, then five y, in units of the box -> (n, 5, 2)
        landmark = (
            said[:, 5:].reshape(-1, 2, 5).transpose(0, 2, 1) * side[:, None] + corner[:, None] - 1
        )
        prob = 1 / (1 + np.exp(-said[:, 0].astype(np.float64)))
        return _shift(box, said[:, 1:5], 1), landmark, prob, group[inside]
