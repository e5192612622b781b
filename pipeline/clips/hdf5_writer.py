"""One manifest with its crops goes into one HDF5 file of the form that hdf5.py describes.

Measured on real faces, 1 thread, clips of 864 kB: gzip 1 is 0.58 of raw and 220 clips/s (as PNG
folders); none is 1.00 and several thousand. lzf (0.69, 380 clips/s) opens in h5py only and was left
out.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import google_crc32c
import h5py
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.cache.zarr_layout import ARRAYS
from unmask.pipeline.clips.hdf5 import FORMAT, document_digest, is_export
from unmask.pipeline.disk.files import replacing
from unmask.pipeline.errors import CacheError, UsageError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import Entry

Compression = Literal["gzip", "none"]


@dataclass(frozen=True)
class ExportSummary:
    """What an export holds. size: bytes of the file."""

    path: Path
    videos: int
    clips: int
    arrays: tuple[str, ...]
    size: int


def write_export(
    path: Path,
    manifest: Manifest,
    *,
    bands: bool = True,
    compression: Compression = "gzip",
    progress: Callable[[Entry], None] = lambda entry: None,
) -> ExportSummary:
    """Write all videos of a manifest, in its order, as one file that appears whole or not at all.

    bands: take the DCT coefficients along where the cache has them.
    progress: called after each video.
    Raises CacheError (a damaged video, unequal clips, no space), UsageError (another kind of file
    is in the way).
    """
    if path.exists() and not is_export(path):
        raise UsageError(f"{path}: exists and is no HDF5 file; choose another name for --to")
    videos = [open_video(folder) for folder in manifest.folders]
    wanted = [name for name in ARRAYS if name != "bands" or bands]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "rb+", buffering=0) as raw:
            sink = _Sink(raw)
            with h5py.File(sink, "w", libver="latest") as file:
                _fill(file, manifest, videos, wanted, compression, progress, sink)
            sink.check()
    except (OSError, RuntimeError) as error:
        needed = sum(int(np.prod(video.shape)) for video in videos)
        raise CacheError(
            f"{path}: not written ({error}); up to {needed / 2**20:,.0f} MiB are needed, "
            f"{_free(path)} are free"
        ) from error
    held = tuple(name for name in wanted if any(name in video.arrays for video in videos))
    return ExportSummary(path, len(videos), sum(v.clips for v in videos), held, path.stat().st_size)


class _Sink:
    """The file that HDF5 writes into, where a write never fails as far as HDF5 can tell.

    HDF5 cannot close a file of which a write failed (no space, a quota): it raises again from every
    destructor, or the process dies; and it dies where it does not read back what it wrote. Here the
    first failure is kept, what finds no room stays in memory, and `check` raises the failure soon:
    after the datasets are made, between two videos and after the close.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._failure: OSError | None = None
        # What is not in the file, in the order it was written: place and bytes.
        self._homeless: list[tuple[int, bytes]] = []
        self._at = self._end = 0

    def check(self) -> None:
        """Raises OSError, the first that a write ran into."""
        if self._failure is not None:
            raise self._failure

    def write(self, data: memoryview) -> int:
        left = memoryview(data).cast("B")
        size, at = len(left), self._at
        try:
            while self._failure is None and len(left):
                done = os.pwrite(self._file.fileno(), left, at)
                left, at = left[done:], at + done
        except OSError as error:
            self._failure = error
        if len(left):
            self._homeless.append((at, bytes(left)))
        self._at += size
        self._end = max(self._end, self._at)
        return size

    def readinto(self, room: memoryview) -> int:
        view = memoryview(room).cast("B")
        size = max(0, min(len(view), self._end - self._at))
        found = os.preadv(self._file.fileno(), [view[:size]], self._at) if size else 0
        view[found:size] = bytes(size - found)  # never written: zero, as in a file with a hole
        for place, data in self._homeless:
            start, stop = max(place, self._at), min(place + len(data), self._at + size)
            if start < stop:
                view[start - self._at : stop - self._at] = data[start - place : stop - place]
        self._at += size
        return size

    def read(self, size: int = -1) -> bytes:
        room = bytearray(self._end - self._at if size < 0 else size)
        return bytes(room[: self.readinto(memoryview(room))])

    def truncate(self, size: int | None = None) -> int:
        self._end = end = self._at if size is None else size
        self._homeless = [(at, data[: end - at]) for at, data in self._homeless if at < end]
        try:
            if self._failure is None:
                self._file.truncate(self._end)
        except OSError as error:
            self._failure = error
        return self._end

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is held back."""


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB"
    except OSError:
        return "unknown MiB"


def _fill(
    file: h5py.File,
    manifest: Manifest,
    videos: list[CachedVideo],
    wanted: list[str],
    compression: Compression,
    progress: Callable[[Entry], None],
    sink: _Sink,
) -> None:
    """Write every dataset of the file. Raises OSError soon after a write has failed."""
    first = {name: _first_rows(videos, name) for name in wanted}
    stored = {name: _dataset(file, name, videos, compression) for name in wanted}
    stored = {name: dataset for name, dataset in stored.items() if dataset is not None}
    sink.check()
    crc = {name: np.zeros(len(dataset), np.uint32) for name, dataset in stored.items()}
    texts, index, pts = [], [], []
    for number, (entry, video) in enumerate(zip(manifest.entries, videos, strict=True)):
        for name in stored:
            if name in video.arrays:
                _copy_clips(video, name, stored[name], int(first[name][number]), crc[name])
        attributes = video.attributes
        texts.append(canonical(attributes))
        index.append(video.frame_numbers)
        pts.append(video.times)
        sink.check()
        progress(entry)
    document = {
        "video/folder": [entry.folder for entry in manifest.entries],
        "video/label": [entry.label for entry in manifest.entries],
        "video/clips": [video.clips for video in videos],
        "video/attributes": texts,
        **{f"video/first_{name}": first[name].tolist() for name in stored},
        **{f"crc32c/{name}": crc[name].tolist() for name in stored},
        "index": np.concatenate(index).tolist(),
        "pts": np.concatenate(pts).tolist(),
    }
    for name, value in document.items():
        kind = h5py.string_dtype() if isinstance(value[0], str) else None
        file.create_dataset(
            name, data=np.asarray(value, dtype=kind or _kind(name)), dtype=kind or _kind(name)
        )
    file.attrs.update({"format": FORMAT, "key": manifest.key, "manifest_sha256": manifest.sha256})
    file.attrs["digest"] = document_digest(document, manifest.key, manifest.sha256)


def _first_rows(videos: list[CachedVideo], name: str) -> NDArray[np.int64]:
    """Row of each video's first clip in an array that holds only the videos that have it; -1 for
    the others.
    """
    has = np.array([name in video.arrays for video in videos])
    counts = np.array([video.clips for video in videos], np.int64) * has
    return np.where(has, np.cumsum(counts) - counts, -1)


def _dataset(
    file: h5py.File, name: str, videos: list[CachedVideo], compression: Compression
) -> h5py.Dataset | None:
    """An empty dataset with room for the clips of all videos that have this array, or None when
    none has.
    """
    holders = [video for video in videos if name in video.arrays]
    shapes = {video.array_shape(name)[1:]: video for video in holders}
    if len(shapes) > 1:
        named = ", ".join(f"{video.folder.name} {shape}" for shape, video in shapes.items())
        raise CacheError(
            f"{name} differ in shape ({named}); a manifest must come from one cache key"
        )
    if not holders:
        return None
    shape = next(iter(shapes))
    options = {"compression": "gzip", "compression_opts": 1} if compression == "gzip" else {}
    rows = sum(video.clips for video in holders)
    return file.create_dataset(name, (rows, *shape), ARRAYS[name][0], chunks=(1, *shape), **options)


def _copy_clips(
    video: CachedVideo, name: str, dataset: h5py.Dataset, first: int, crc: NDArray[np.uint32]
) -> None:
    for clip in range(video.clips):
        pixels = np.ascontiguousarray(video.read_clips(name, [clip])[0])
        dataset[first + clip] = pixels
        crc[first + clip] = google_crc32c.value(pixels.tobytes())


def _kind(name: str) -> str:
    if name == "pts":
        return "<f8"
    return "<u4" if name.startswith("crc32c/") else "<i8"
