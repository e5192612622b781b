"""Manifest + cache + ClipSpec -> batches: uint8 from the cache in threads, everything else on the
device.

    source = ClipSource(manifest, cache_root, spec)         checks every folder before anything is read
    samples = source.evaluation_samples()                   list[Sample], all clips of all videos, manifest order
    for raw in source.batches(batched(samples, 16), ...):   RawBatch, uint8, host memory, buffers are used again
        batch = prepare(raw, spec, device)                  Batch: what `model(batch.pixels, batch.bands)` eats

`manifest` is a text manifest, a Manifest already read, or an exported FILE.h5. Threads and not
DataLoader processes, because decoding releases the GIL and worker processes were measured 15 to 30
times slower than reading in place.
"""  # noqa: E501

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.clips.batches import RawBatch, empty_batch
from unmask.pipeline.clips.frame_labels import clip_label, frame_labels
from unmask.pipeline.clips.hdf5 import Export
from unmask.pipeline.clips.read_ahead import ReadAhead
from unmask.pipeline.clips.readers import find_videos, open_reader
from unmask.pipeline.clips.samples import MODES, Sample, evaluation_picks
from unmask.pipeline.errors import CacheError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import FAKE, Entry

log = logging.getLogger(__name__)


class ClipSource:
    """The videos of one manifest as readers of samples.

    entries, readers, labels (of whole videos): one per usable video, in manifest order.
    missing: entries without a cache folder.
    sha256: of the manifest.
    key: cache key of the pixels.
    side: of the cached crops, px.
    Raises ManifestError for bad lines and folders that are missing (unless `allow_missing`),
    CacheError for folders that are damaged, of unequal shape, or without the masks the model's loss
    wants.
    """

    def __init__(
        self,
        manifest: Path | Manifest | Export,
        cache_root: Path,
        spec: ClipSpec,
        *,
        allow_missing: bool = False,
    ) -> None:
        known = isinstance(manifest, Manifest | Export)
        found = manifest if known else find_videos(Path(manifest), Path(cache_root), allow_missing)
        self.path, self.sha256, self.key, self.spec = found.path, found.sha256, found.key, spec
        self.entries: tuple[Entry, ...] = found.entries
        self.readers: list[ClipReader]
        self.missing: tuple[Entry, ...] = ()
        self.warnings: tuple[str, ...] = ()
        if isinstance(found, Export):
            self.readers = list(found.videos)
        else:
            self.readers = [open_reader(folder) for folder in found.folders]
            self.missing, self.warnings = found.missing, found.warnings
        self.labels = np.array([entry.label for entry in self.entries], np.int64)
        self.length, self.side = self._common_shape()
        self._idle: list[RawBatch] = []

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(clips, frames in a clip) of each video."""
        return [reader.shape[:2] for reader in self.readers]

    @property
    def pairs(self) -> list[int | None]:
        """For each fake, the position of the real video it was made from, where that is in the
        manifest too.
        """
        place = {
            (reader.attributes.get("dataset"), reader.attributes.get("key")): number
            for number, reader in enumerate(self.readers)
            if self.entries[number].label != FAKE
        }
        return [
            place.get((reader.attributes.get("dataset"), reader.attributes.get("pair")))
            if entry.label == FAKE and reader.attributes.get("pair")
            else None
            for entry, reader in zip(self.entries, self.readers, strict=True)
        ]

    @cached_property
    def truth(self) -> list[NDArray[np.int64] | None]:
        """Per video the (clips, frames) labels of its frames where it is fake in parts only, else
        None.
        """
        found = [
            frame_labels(reader.attributes, FAKE) if label == FAKE else None
            for reader, label in zip(self.readers, self.labels.tolist(), strict=True)
        ]
        partly = [own for own in found if own is not None]
        if missed := sum((own != FAKE).all() for own in partly):
            log.warning(
                "%s: %d of %d partly fake videos have no clip inside their fake spans; extract "
                "with more --clips",
                *(self.path, missed, len(partly)),
            )
        return found

    def label_of(self, sample: Sample) -> int:
        """Label of one sample: of a partly fake video it is fake only where its frames are."""
        return clip_label(self.truth[sample.video], int(self.labels[sample.video]), sample.picks)

    def evaluation_samples(self, per_video: int = 0) -> list[Sample]:
        """All samples of all videos in manifest order; `per_video` > 0 keeps that many, spread
        over the video.
        """
        samples = []
        for video, shape in enumerate(self.shapes):
            picks = evaluation_picks(self.spec, *shape)
            if 0 < per_video < len(picks):
                picks = [
                    picks[i] for i in np.rint(np.linspace(0, len(picks) - 1, per_video)).astype(int)
                ]
            samples += [Sample(video, chosen) for chosen in picks]
        return samples

    def facts(self) -> dict[str, object]:
        """What run.json says of the manifest."""
        fakes = int((self.labels == FAKE).sum())
        counts = {
            "videos": len(self),
            "real": len(self) - fakes,
            "fake": fakes,
            "missing": len(self.missing),
        }
        settings = self.readers[0].attributes.get("settings")  # predict cuts its crops by these
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "key": self.key,
            "settings": settings,
            **counts,
        }

    def read(
        self, sample: Sample, out: NDArray[np.uint8], masks: NDArray[np.uint8] | None = None
    ) -> None:
        """Fill `out` (T,S,S,3), and `masks` (T,S,S) where wanted, with one sample; CacheError
        names the folder.
        """
        reader = self.readers[sample.video]
        first = sample.picks[0][0]
        if sample.picks == _whole_clip(first, reader.shape[1]):
            reader.read_clip(first, out)
        else:
            clips = sample.clips
            rows = [clips.index(clip) for clip, _ in sample.picks]
            frames = [frame for _, frame in sample.picks]
            np.copyto(out, reader.read_crops(clips)[rows, frames])
        if masks is None:
            return
        if self.labels[sample.video] != FAKE:
            masks[:] = 0
        else:
            clips = sample.clips
            rows = [clips.index(clip) for clip, _ in sample.picks]
            np.copyto(masks, reader.read_masks(clips)[rows, [frame for _, frame in sample.picks]])
            if (truth := self.truth[sample.video]) is not None:
                masks[[truth[pick] != FAKE for pick in sample.picks]] = 0

    def batches(
        self,
        plan: Iterable[Sequence[Sample]],
        *,
        threads: int = 2,
        prefetch: int = 2,
        pin: bool = False,
    ) -> Iterator[RawBatch]:
        """Batches in the order of the plan, read ahead by `threads` into prefetch + 1 buffers that
        are used again.

        pin: page-locked buffers, from which copies to a GPU run beside its work.
        Raises CacheError of the first sample that cannot be read, when its batch is due.
        """
        plan = [list(samples) for samples in plan]
        if not plan:
            return
        threads = max(1, threads)
        buffers = min(prefetch + 1, len(plan))
        ring = self._ring(buffers, max(len(samples) for samples in plan), pin)
        # Each thread fills a batch of its own where there are buffers enough for that.
        ahead = ReadAhead(
            self._begin, self._read_some, plan, ring, parts=-(-threads // max(1, buffers - 1))
        )
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
                self._idle = ring

    def _begin(self, buffer: RawBatch, samples: list[Sample]) -> RawBatch:
        count = len(samples)
        masks = None if buffer.masks is None else buffer.masks[:count]
        label = torch.tensor([self.label_of(sample) for sample in samples])
        return RawBatch(samples, buffer.pixels[:count], masks, label)

    def _read_some(self, raw: RawBatch, rows: range) -> None:
        pixels, masks = raw.pixels.numpy(), None if raw.masks is None else raw.masks.numpy()
        for row in rows:
            self.read(raw.samples[row], pixels[row], None if masks is None else masks[row])

    def _ring(self, buffers: int, count: int, pin: bool) -> list[RawBatch]:
        """Buffers of at least `count` samples, those of the last epoch where they do: fresh memory
        is slow memory.
        """
        kept, self._idle = self._idle, []
        if len(kept) < buffers or len(kept[0].pixels) < count or kept[0].pixels.is_pinned() != pin:
            kept = [self._buffer(count, pin) for _ in range(buffers)]
        return kept[:buffers]

    def _buffer(self, count: int, pin: bool) -> RawBatch:
        shape = (count, self.spec.frames, self.side, self.side)
        pixels = empty_batch((*shape, 3), pin)
        masks = empty_batch(shape, pin) if self.spec.masks else None
        return RawBatch([], pixels, masks, torch.empty(0, dtype=torch.int64))

    def _common_shape(self) -> tuple[int, int]:
        first = self.readers[0].shape
        for entry, reader in zip(self.entries, self.readers, strict=True):
            if reader.shape[1:] != first[1:]:
                raise CacheError(
                    f"{self.path}:{entry.line}: {entry.folder} has clips of {reader.shape[1:]}, "
                    "the first video "
                    f"{first[1:]}; a manifest must come from one cache key"
                )
            if self.spec.masks and entry.label == FAKE and "masks" not in reader.arrays:
                raise CacheError(
                    f"{entry.folder} has no masks and the loss wants them; extract with --masks"
                )
            MODES[self.spec.mode].check(self.spec.frames, *reader.shape[:2])
        return int(first[1]), int(first[2])


@cache
def _whole_clip(clip: int, length: int) -> tuple[tuple[int, int], ...]:
    """The picks of a sample that is one cached clip, which is read into its place without a copy
    between.
    """
    return tuple((clip, frame) for frame in range(length))
