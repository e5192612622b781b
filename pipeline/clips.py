"""Manifest + cache + ClipSpec -> batches: uint8 from the cache in threads, everything else on the device.

    source = ClipSource(manifest, cache_root, spec)         checks every folder before anything is read
    samples = source.evaluation_samples()                   list[Sample], all clips of all videos, manifest order
    for raw in source.batches(batched(samples, 16), ...):   RawBatch, uint8, host memory, buffers are used again
        batch = prepare(raw, spec, device)                  Batch: what `model(batch.pixels, batch.bands)` eats

`manifest` is a text manifest, a Manifest already read, or an exported FILE.h5. Threads and not DataLoader processes,
because decoding releases the GIL and worker processes were measured 15 to 30 times slower than reading in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from models.layers.bands import Bands
from models.spec import NORMS, ClipSpec
from pipeline.cache import open_video
from pipeline.errors import CacheError
from pipeline.export import Export, is_export, open_export
from pipeline.manifests import GROUP_FILE, Manifest, read_manifest
from pipeline.picture_clips import PictureClips
from pipeline.read_ahead import ReadAhead
from pipeline.records import FAKE, Entry
from pipeline.samplers import Sample, evaluation_picks
from pipeline.spans import frame_labels, label_of

log = logging.getLogger(__name__)

# (clip (T,3,S,S) uint8 on the device, masks (T,1,S,S) uint8 or None, random numbers) -> the same two, any side.
Augment = Callable[[Tensor, Tensor | None, np.random.Generator], tuple[Tensor, Tensor | None]]


class ClipReader(Protocol):
    """One video's clips, wherever they lie: cache folder, picture folder or exported file."""

    attributes: dict[str, object]
    arrays: tuple[str, ...]
    shape: tuple[int, ...]

    def read_crops(self, clips: Sequence[int], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]: ...
    def read_masks(self, clips: Sequence[int]) -> NDArray[np.uint8]: ...


@dataclass
class RawBatch:
    """Samples as they lie in the cache.

    pixels: (B,T,S,S,3) uint8.   masks: (B,T,S,S) uint8 or None.   label: (B,) int64, of the sample itself.
    The tensors are views of a buffer that is filled again: use them before asking for the next batch.
    """

    samples: list[Sample]
    pixels: Tensor
    masks: Tensor | None
    label: Tensor
    copied: torch.cuda.Event | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Batch:
    """What a model eats.

    pixels: (B,T,3,S,S) float32, normalised by spec.norm.   bands: (B,T,9,S,S) float32 of pixels / 255, or None.
    masks: (B,T,1,S,S) float32, 1 where manipulated, or None.   label: (B,) int64, 1 fake.
    """

    pixels: Tensor
    bands: Tensor | None
    masks: Tensor | None
    label: Tensor


class ClipSource:
    """The videos of one manifest as readers of samples.

    entries, readers, labels (of whole videos): one per usable video, in manifest order.   missing: entries without a
    cache folder.
    sha256: of the manifest.   key: cache key of the pixels.   side: of the cached crops, px.
    Raises ManifestError for bad lines and folders that are missing (unless `allow_missing`), CacheError for folders
    that are damaged, of unequal shape, or without the masks the model's loss wants.
    """

    def __init__(
        self, manifest: Path | Manifest | Export, cache_root: Path, spec: ClipSpec, *, allow_missing: bool = False
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
            self.readers = [_open(folder) for folder in found.folders]
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
        """For each fake, the position of the real video it was made from, where that is in the manifest too."""
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
        """Per video the (clips, frames) labels of its frames where it is fake in parts only, else None."""
        found = [
            frame_labels(reader.attributes, FAKE) if label == FAKE else None
            for reader, label in zip(self.readers, self.labels.tolist(), strict=True)
        ]
        partly = [own for own in found if own is not None]
        if missed := sum((own != FAKE).all() for own in partly):
            log.warning(
                "%s: %d of %d partly fake videos have no clip inside their fake spans; extract with more --clips",
                *(self.path, missed, len(partly)),
            )
        return found

    def label_of(self, sample: Sample) -> int:
        """Label of one sample: of a partly fake video it is fake only where its frames are."""
        return label_of(self.truth[sample.video], int(self.labels[sample.video]), sample.picks)

    def evaluation_samples(self, per_video: int = 0) -> list[Sample]:
        """All samples of all videos in manifest order; `per_video` > 0 keeps that many, spread over the video."""
        samples = []
        for video, shape in enumerate(self.shapes):
            picks = evaluation_picks(self.spec, *shape)
            if 0 < per_video < len(picks):
                picks = [picks[i] for i in np.rint(np.linspace(0, len(picks) - 1, per_video)).astype(int)]
            samples += [Sample(video, chosen) for chosen in picks]
        return samples

    def facts(self) -> dict[str, object]:
        """What run.json says of the manifest."""
        fakes = int((self.labels == FAKE).sum())
        counts = {"videos": len(self), "real": len(self) - fakes, "fake": fakes, "missing": len(self.missing)}
        settings = self.readers[0].attributes.get("settings")  # predict cuts its crops by these
        return {"path": str(self.path), "sha256": self.sha256, "key": self.key, "settings": settings, **counts}

    def read(self, sample: Sample, out: NDArray[np.uint8], masks: NDArray[np.uint8] | None = None) -> None:
        """Fill `out` (T,S,S,3), and `masks` (T,S,S) where wanted, with one sample; CacheError names the folder."""
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
        self, plan: Iterable[Sequence[Sample]], *, threads: int = 2, prefetch: int = 2, pin: bool = False
    ) -> Iterator[RawBatch]:
        """Batches in the order of the plan, read ahead by `threads` into prefetch + 1 buffers that are used again.

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
        ahead = ReadAhead(self._begin, self._read_some, plan, ring, parts=-(-threads // max(1, buffers - 1)))
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
        """Buffers of at least `count` samples, those of the last epoch where they do: fresh memory is slow memory."""
        kept, self._idle = self._idle, []
        if len(kept) < buffers or len(kept[0].pixels) < count or kept[0].pixels.is_pinned() != pin:
            kept = [self._buffer(count, pin) for _ in range(buffers)]
        return kept[:buffers]

    def _buffer(self, count: int, pin: bool) -> RawBatch:
        shape = (count, self.spec.frames, self.side, self.side)
        pixels = _room((*shape, 3), pin)
        masks = _room(shape, pin) if self.spec.masks else None
        return RawBatch([], pixels, masks, torch.empty(0, dtype=torch.int64))

    def _common_shape(self) -> tuple[int, int]:
        first = self.readers[0].shape
        for entry, reader in zip(self.entries, self.readers, strict=True):
            if reader.shape[1:] != first[1:]:
                raise CacheError(
                    f"{self.path}:{entry.line}: {entry.folder} has clips of {reader.shape[1:]}, the first video "
                    f"{first[1:]}; a manifest must come from one cache key"
                )
            if self.spec.masks and entry.label == FAKE and "masks" not in reader.arrays:
                raise CacheError(f"{entry.folder} has no masks and the loss wants them; extract with --masks")
            evaluation_picks(self.spec, *reader.shape[:2])
        return int(first[1]), int(first[2])


def find_videos(path: Path, cache_root: Path, allow_missing: bool = False) -> Manifest | Export:
    """What a text manifest or an exported file names, checked. Raises ManifestError, CacheError."""
    return open_export(path) if is_export(path) else read_manifest(path, cache_root, allow_missing=allow_missing)


def _open(folder: Path) -> ClipReader:
    """A committed cache folder, or a plain folder of pictures. Raises CacheError for anything damaged."""
    return open_video(folder) if (folder / GROUP_FILE).is_file() else PictureClips(folder)


@cache
def _whole_clip(clip: int, length: int) -> tuple[tuple[int, int], ...]:
    """The picks of a sample that is one cached clip, which is read into its place without a copy between."""
    return tuple((clip, frame) for frame in range(length))


def random_of(sample: Sample) -> np.random.Generator:
    """The random numbers of one sample: its own seed in training, its place in the manifest in evaluation."""
    return np.random.default_rng([sample.video, *sample.picks[0]] if sample.seed is None else sample.seed)


def prepare(raw: RawBatch, spec: ClipSpec, device: torch.device | str, augment: Augment | None = None) -> Batch:
    """Host uint8 -> the model's input on `device`: copy, augment, bands, crop or resize, normalise, in this order.

    Samples with a seed (training) are cropped at a random place, the others in the centre. Bands are those of the
    whole crop after augmentation, cut like the pixels (m2tr.md section 9), so no cached coefficient can be stale.
    """
    pixels = raw.pixels.to(device, non_blocking=True).permute(0, 1, 4, 2, 3)  # (B,T,3,S,S) uint8
    masks = None if raw.masks is None else raw.masks.to(device, non_blocking=True).unsqueeze(2)  # (B,T,1,S,S)
    label = raw.label.to(device, non_blocking=True)
    if pixels.is_cuda:
        raw.copied = torch.cuda.Event()
        raw.copied.record()
    numbers = [random_of(sample) for sample in raw.samples]
    if augment is not None:
        changed = [augment(clip, None if masks is None else masks[i], numbers[i]) for i, clip in enumerate(pixels)]
        pixels = torch.stack([clip for clip, _ in changed])
        masks = None if masks is None else torch.stack([mask for _, mask in changed])
    unit = pixels.float().div_(255)
    bands = None if spec.bands is None else _bands(unit.shape[-1], spec.bands, str(unit.device))(unit)
    place = [_offset(unit.shape[-1], spec, sample, rng) for sample, rng in zip(raw.samples, numbers, strict=True)]
    if masks is not None:
        masks = (fit(masks.float(), spec, place, mode="nearest") > 127).float()
    return Batch(
        normalise(fit(unit, spec, place), spec.norm),
        None if bands is None else fit(bands, spec, place),
        masks,
        label,
    )


def _room(shape: tuple[int, ...], pin: bool) -> Tensor:
    """Host memory for uint8; numpy asks for large pages, torch does not: measured 1.4 times the clips/s."""
    if pin:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    return torch.from_numpy(np.empty(shape, np.uint8))


@cache
def _bands(side: int, definition: str, device: str) -> Bands:
    return Bands(side, definition).to(device)


def _offset(side: int, spec: ClipSpec, sample: Sample, rng: np.random.Generator) -> tuple[int, int]:
    room = side - spec.size
    if spec.fit == "resize" or room == 0:
        return 0, 0
    if room < 0:
        raise CacheError(
            f"the model crops {spec.size} px out of crops of {side} px; extract with --size {spec.size} or more, "
            "or resize with --option fit=resize"
        )
    return (room // 2, room // 2) if sample.seed is None else tuple(rng.integers(room + 1, size=2).tolist())


def fit(images: Tensor, spec: ClipSpec, place: Sequence[tuple[int, int]], mode: str = "bilinear") -> Tensor:
    """(B,T,C,S,S) -> (B,T,C,size,size): cut at `place` (y, x) of each clip, or resized (antialiased)."""
    size = spec.size
    if images.shape[-1] == size:
        return images
    if spec.fit == "crop":
        return torch.stack([c[..., y : y + size, x : x + size] for c, (y, x) in zip(images, place, strict=True)])
    smooth = mode == "bilinear"
    flat = interpolate(images.flatten(0, 1), size=(size, size), mode=mode, antialias=smooth)
    return flat.unflatten(0, images.shape[:2])  # (B*T,C,s,s) -> (B,T,C,s,s)


def normalise(unit: Tensor, norm: str) -> Tensor:
    """(B,T,3,S,S) in 0..1 -> (x - mean) / std per RGB channel, by the name in models.spec.NORMS."""
    mean, std = (torch.tensor(value, device=unit.device).view(3, 1, 1) for value in NORMS[norm])
    return unit if norm == "unit" else (unit - mean) / std
