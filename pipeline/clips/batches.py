"""Batches of clips ahead of their use: uint8 from the cache in threads, everything else on the
device.

    source = ClipSource(manifest, cache_root, spec)   checks every folder before anything is read
    samples = source.evaluation_samples()             all clips of all videos, manifest order
    for raw in batches(source, plan):                 RawBatch, host memory that is used again
        batch = prepare(raw, spec, device)            what `model(batch.pixels, batch.bands)` eats

Threads and not DataLoader processes, because decoding releases the GIL and worker processes were
measured 15 to 30 times slower than reading in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.pipeline.clips.read_ahead import ReadAhead
from unmask.pipeline.clips.samples import Picks, Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.records import FAKE


@dataclass
class RawBatch:
    """Samples as they lie in the cache.

    pixels: (B,T,S,S,3) uint8; None when the model eats nothing but stored coefficients.
    masks: (B,T,S,S) uint8 or None.
    label: (B,) int64, of the sample itself.
    coefficients: (B,T,3,K) float16 DCT coefficients of the pixels as cached, or None.
    The tensors are views of a buffer that is filled again: use them before asking for the next
    batch.
    """

    samples: list[Sample]
    pixels: Tensor | None
    masks: Tensor | None
    label: Tensor
    coefficients: Tensor | None = None
    copied: torch.cuda.Event | None = field(default=None, repr=False)


def batch_of(pixels: NDArray[np.uint8], picks: Sequence[Picks]) -> RawBatch:
    """One batch of samples that lie in no cache and have no label.

    pixels: (B,T,S,S,3) uint8 RGB; picks: where in its video each comes from.
    """
    samples = [Sample(0, pick) for pick in picks]
    nobody_knows = torch.zeros(len(samples), dtype=torch.int64)
    return RawBatch(samples, torch.from_numpy(pixels), None, nobody_knows)


def batches(
    source: ClipSource,
    plan: Iterable[Sequence[Sample]],
    *,
    threads: int = 2,
    prefetch: int = 2,
    pin: bool = False,
    as_stored: bool = True,
) -> Iterator[RawBatch]:
    """Batches in the order of the plan, read ahead by `threads` into prefetch + 1 buffers that are
    used again, also by the source's next plan.

    pin: page-locked buffers, from which copies to a GPU run beside its work.
    as_stored: the pixels will be used as they are cached, so that coefficients of them may come
        along where the source has them; False gives pixels only.
    Raises CacheError of the first sample that cannot be read, when its batch is due.
    """
    plan = [list(samples) for samples in plan]
    if not plan:
        return
    threads, most = max(1, threads), max(len(samples) for samples in plan)
    stored = as_stored and source.stored_bands
    ring = _ring(source, min(prefetch + 1, len(plan)), most, pin, stored)
    # Each thread fills a batch of its own where there are buffers enough for that.
    parts = -(-threads // max(1, len(ring) - 1))

    def begin(buffer: RawBatch, samples: list[Sample]) -> RawBatch:
        label = torch.tensor([source.label_of(sample) for sample in samples])
        return replace(
            buffer,
            samples=samples,
            label=label,
            **{name: getattr(buffer, name)[: len(samples)] for name in _filled(buffer)},
        )

    def fill(raw: RawBatch, rows: range) -> None:
        for row in source.rows_to_read(raw.samples, rows):
            _read(source, raw, row)
        source.finish(raw.samples, raw.pixels, raw.masks, rows)

    ahead = ReadAhead(begin, fill, plan, ring, parts=parts)
    with ThreadPoolExecutor(threads, thread_name_prefix="clips") as pool:
        try:
            for _ in range(threads):
                pool.submit(ahead.work)
            for _ in plan:
                buffer, raw = ahead.next()
                try:
                    yield raw
                finally:
                    if raw.copied is not None:
                        raw.copied.synchronize()
                ahead.give_back(buffer)
        finally:
            ahead.stop()
            pool.shutdown(wait=True)
            source.idle_buffers = ring


def empty_batch(shape: tuple[int, ...], pin: bool, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Host memory; numpy asks for large pages, torch does not: measured 1.4 times the clips/s."""
    if pin:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    width = torch.empty((), dtype=dtype).element_size()
    return torch.from_numpy(np.empty((*shape[:-1], shape[-1] * width), np.uint8)).view(dtype)


def _filled(buffer: RawBatch) -> list[str]:
    """Names of the tensors that reading fills."""
    names = ("pixels", "masks", "coefficients")
    return [name for name in names if getattr(buffer, name) is not None]


def _ring(source: ClipSource, buffers: int, count: int, pin: bool, stored: bool) -> list[RawBatch]:
    """Buffers of at least `count` samples, those of the last plan where they do: fresh memory is
    slow memory.
    """
    shapes = _shapes(source, stored)
    idle, source.idle_buffers = source.idle_buffers, []
    fit = (
        len(idle) >= buffers
        and _filled(idle[0]) == list(shapes)
        and all(
            len(held := getattr(idle[0], name)) >= count
            and held.shape[1:] == shape
            and held.is_pinned() == pin
            for name, shape in shapes.items()
        )
    )
    return idle[:buffers] if fit else [_buffer(shapes, count, pin) for _ in range(buffers)]


def _shapes(source: ClipSource, stored: bool) -> dict[str, tuple[int, ...]]:
    """Shape of one sample of each tensor that is read."""
    spec = source.spec
    frames = (spec.frames, source.side, source.side)
    shapes: dict[str, tuple[int, ...]] = {}
    if not (stored and spec.coefficients):
        shapes["pixels"] = (*frames, 3)
    if spec.masks:
        shapes["masks"] = frames
    if stored:
        shapes["coefficients"] = (spec.frames, *source.readers[0].array_shape("bands")[2:])
    return shapes


def _buffer(shapes: dict[str, tuple[int, ...]], count: int, pin: bool) -> RawBatch:
    kinds = {"coefficients": torch.float16}
    made = {
        name: empty_batch((count, *shape), pin, kinds.get(name, torch.uint8))
        for name, shape in shapes.items()
    }
    nothing = dict.fromkeys(("pixels", "masks", "coefficients"))
    return RawBatch(samples=[], label=torch.empty(0, dtype=torch.int64), **(nothing | made))


def _read(source: ClipSource, raw: RawBatch, row: int) -> None:
    """Fill one row of a batch. Raises CacheError, which names the folder."""
    sample = raw.samples[row]
    reader = source.readers[sample.video]
    if raw.pixels is not None:
        _read_frames(source, sample, "crops", raw.pixels[row].numpy())
    if raw.coefficients is not None:
        _read_frames(source, sample, "bands", raw.coefficients[row].numpy())
    if raw.masks is None:
        return
    masks = raw.masks[row].numpy()
    if source.labels[sample.video] != FAKE or source.fakes == "self":
        masks[:] = 0
        return
    masks[:] = _frames_of(sample, reader.read_masks(sample.clips))
    if (truth := source.truth[sample.video]) is not None:
        masks[[truth[pick] != FAKE for pick in sample.picks]] = 0


def _read_frames(source: ClipSource, sample: Sample, array: str, out: NDArray) -> None:
    """Fill `out` (T, ...) with the frames of a sample."""
    reader, first = source.readers[sample.video], sample.picks[0][0]
    if sample.picks == _whole_clip(first, reader.shape[1]):
        reader.read(array, first, out)
    else:
        np.copyto(out, _frames_of(sample, reader.read_clips(array, sample.clips)))


def _frames_of(sample: Sample, clips: NDArray) -> NDArray:
    """(T, ...) out of (n, frames, ...), the clips that the sample needs in ascending order."""
    place = {clip: row for row, clip in enumerate(sample.clips)}
    return clips[[place[clip] for clip, _ in sample.picks], [frame for _, frame in sample.picks]]


@cache
def _whole_clip(clip: int, length: int) -> Picks:
    """The picks of a sample that is one cached clip, which is read into its place without a copy
    between.
    """
    return tuple((clip, frame) for frame in range(length))
