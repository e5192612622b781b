"""One manifest with its crops as one HDF5 file, and that file read in place of manifest and cache.

    /crops (M,T,S,S,3) uint8, /bands (M,T,3,K) float16, /masks (M,T,S,S) uint8: one chunk a clip,
    video by video /index (M,T) int64 frame numbers, /pts (M,T) float64 seconds, of every clip of
    /crops /crc32c/<array> (M,) uint32, of each clip's plain bytes
    /video/{folder,label,clips,attributes} and /video/first_<array>: one row a video, in the
    manifest's order; the first row of its clips in that array, -1 where it has none; attributes as
    JSON text
    file attributes: format, key, manifest_sha256, and digest, the sha256 of everything but the
    clips

Any HDF5 reader opens it: only HDF5's own filters are used. Reading here asks h5py once where the
chunks lie and then reads them with pread in threads, because h5py lets only one thread at a time
into the library. Measured on real
faces, 1 thread, clips of 864 kB: gzip 1 is 0.58 of raw and 220 clips/s (as PNG folders); none is
1.00 and several thousand. lzf (0.69, 380 clips/s) opens in h5py only and was left out.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import h5py
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.attributes import checked_attributes
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.cache.zarr_layout import ARRAYS, MAX_CLIP_BYTES
from unmask.pipeline.disk.files import parse_json, replacing
from unmask.pipeline.errors import CacheError, UsageError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import FAKE, REAL, Entry

FORMAT = 1
MAGIC = b"\x89HDF\r\n\x1a\n"
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
    destructor, or the process dies. Here the first failure is kept, the rest is thrown away, and
    `check` raises it between two videos and after the close.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._failure: OSError | None = None

    def check(self) -> None:
        """Raises OSError, the first that a write ran into."""
        if self._failure is not None:
            raise self._failure

    def write(self, data: memoryview) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self._failure is None and len(left):
                left = left[self._file.write(left) :]
        except OSError as error:
            self._failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return size or 0

    def readinto(self, room: memoryview) -> int:
        return self._file.readinto(room)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is held back."""


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB"
    except OSError:
        return "unknown MiB"


def is_export(path: Path) -> bool:
    """Whether the file begins like HDF5, so that `--manifest FILE.h5` can be told from a text
    manifest.
    """
    try:
        if not path.is_file():  # opening a FIFO waits for its writer, for ever
            return False
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class ExportedVideo(ClipReader):
    """One video of an export.

    folder: as in the manifest.
    shape: (N, T, S, S, 3).
    arrays: names it holds.
    """

    def __init__(
        self, stored: dict[str, _Rows], first: dict[str, int], clips: int, entry: Entry, text: str
    ) -> None:
        self._stored, self._first, self._text, self.entry = stored, first, text, entry
        self.folder, self.arrays = entry.folder, tuple(first)
        self.shape = (clips, *stored["crops"].shape)

    @property
    def attributes(self) -> dict[str, Any]:
        where = f"{self._stored['crops'].path}: attributes of {self.folder!r}"
        try:
            found = parse_json(self._text, where, CacheError)
            return checked_attributes(found, where, CacheError, self.shape[:2])
        except CacheError as error:
            raise CacheError(f"{error}; export it again") from error

    def empty(self, count: int, array: str = "crops") -> NDArray:
        rows = self._stored[array]
        return np.empty((count, *rows.shape), rows.dtype)

    def read(self, array: str, clip: int, out: NDArray) -> None:
        rows = self._stored[array]
        if out.shape != rows.shape or out.dtype != rows.dtype:
            raise ValueError(
                f"expected room for {rows.shape} {rows.dtype}, got {out.shape} {out.dtype}"
            )
        if not 0 <= clip < self.clips:
            raise IndexError(f"{self.folder}: clip {clip} of {self.clips}")
        rows.read(self._first[array] + clip, out)

    def lacks(self, array: str) -> CacheError:
        return CacheError(
            f"{self._stored['crops'].path}: {self.folder} has no {array}; extract with --{array} "
            "and export it again"
        )


@dataclass(frozen=True)
class Export:
    """An open export: what stands in place of a Manifest and the cache behind it.

    entries and videos: one each per line of the manifest, in its order.
    sha256: of the manifest it was made from.
    key: cache key of all its videos.
    left_out: videos of another label than the wanted one.
    """

    path: Path
    entries: tuple[Entry, ...]
    videos: tuple[ExportedVideo, ...]
    sha256: str
    key: str
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def of_label(self, label: int) -> Export:
        """The same with the videos of one label only. Raises CacheError when there is none."""
        kept = [row for row, entry in enumerate(self.entries) if entry.label == label]
        if not kept:
            raise CacheError(f"{self.path}: none of its {len(self)} videos has label {label}")
        return replace(
            self,
            entries=tuple(self.entries[row] for row in kept),
            videos=tuple(self.videos[row] for row in kept),
            left_out=len(self) - len(kept),
        )


def open_export(path: Path) -> Export:
    """Open an export after checking everything in it but the clips, which are checked as they are
    read.

    Raises CacheError when it is absent, damaged, of another format, or was not made by
    write_export.
    """
    if not is_export(path):
        raise CacheError(f"{path}: not there, or no HDF5 file; make it with `unmask export`")
    try:
        with h5py.File(path, "r") as file:
            return _open(path, file)
    except CacheError:
        raise
    # h5py turns damage into OSError, RuntimeError, KeyError, TypeError, ... at any call
    except Exception as error:
        raise CacheError(
            f"{path}: damaged or no export of unmask ({type(error).__name__}); export it again"
        ) from error


class _Rows:
    """The clips of one dataset, read by offset. Thread-safe."""

    def __init__(
        self, path: Path, dataset: h5py.Dataset, crc: NDArray[np.uint32], size: int
    ) -> None:
        self.path, self.shape, self.dtype = path, dataset.shape[1:], dataset.dtype
        self.packed, self.crc, self.file_size = dataset.compression == "gzip", crc, size
        self.bytes = math.prod(self.shape) * self.dtype.itemsize
        if self.bytes > MAX_CLIP_BYTES or dataset.shape[0] > size:
            raise CacheError(f"{path}: {dataset.name} is larger than any export; export it again")
        self.places = np.full((dataset.shape[0], 2), -1, np.int64)
        dataset.id.chunk_iter(self._note)
        if dataset.chunks != (1, *self.shape) or (self.places < 0).any():
            raise CacheError(f"{path}: {dataset.name} lacks clips; export it again")

    def read(self, row: int, out: NDArray) -> None:
        """Read, check and copy one clip into `out`. Raises CacheError."""
        offset, length = (int(x) for x in self.places[row])
        direct = not self.packed and out.flags.c_contiguous
        stored = out.reshape(-1).view(np.uint8) if direct else np.empty(length, np.uint8)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                got = os.preadv(descriptor, [stored], offset)
            finally:
                os.close(descriptor)
            # Never more than a byte too many, however much the stored bytes would unpack to.
            unpack = zlib.decompressobj()
            plain = unpack.decompress(stored, self.bytes + 1) if self.packed else stored
        except (OSError, zlib.error) as error:
            raise CacheError(
                f"{self.path}: clip {row} cannot be read ({error}); export it again"
            ) from error
        if got != length or len(plain) != self.bytes or google_crc32c.value(plain) != self.crc[row]:
            raise CacheError(
                f"{self.path}: clip {row} is damaged (its checksum differs); export it again"
            )
        if not direct:
            np.copyto(out, np.frombuffer(plain, self.dtype).reshape(self.shape))

    def _note(self, chunk: Any) -> None:
        if (
            chunk.filter_mask
            or chunk.byte_offset + chunk.size > self.file_size
            or chunk.size > 2 * self.bytes + 64
        ):
            raise CacheError(f"{self.path}: a clip lies outside the file; export it again")
        self.places[chunk.chunk_offset[0]] = chunk.byte_offset, chunk.size


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
    file.attrs["digest"] = _digest(document, manifest.key, manifest.sha256)


def _open(path: Path, file: h5py.File) -> Export:
    if file.attrs["format"] != FORMAT:
        raise CacheError(
            f"{path}: format {file.attrs['format']}, this unmask reads {FORMAT}; export it again"
        )
    size = path.stat().st_size
    names = [name for name in ARRAYS if name in file]
    keys = ["folder", "label", "clips", "attributes", *(f"first_{name}" for name in names)]
    places = [
        *(f"video/{key}" for key in keys),
        *(f"crc32c/{name}" for name in names),
        "index",
        "pts",
    ]
    for place in (*names, *places):
        _refuse_foreign(path, file, place)
    document = {place: _column(path, file[place], size) for place in places}
    key, sha256 = str(file.attrs["key"]), str(file.attrs["manifest_sha256"])
    if _digest(document, key, sha256) != file.attrs["digest"]:
        raise CacheError(f"{path}: damaged: its digest does not match; export it again")
    stored = {}
    for name in names:
        if file[name].dtype != ARRAYS[name][0] or file[name].ndim != len(ARRAYS[name][1]):
            raise CacheError(f"{path}: {name} is not as unmask writes it; export it again")
        stored[name] = _Rows(
            path, file[name], np.asarray(document[f"crc32c/{name}"], np.uint32), size
        )
    entries, videos = [], []
    for number, folder in enumerate(document["video/folder"]):
        entry = Entry(folder, document["video/label"][number], number + 1)
        first = {name: document[f"video/first_{name}"][number] for name in names}
        first = {name: row for name, row in first.items() if row != -1}
        clips, text = document["video/clips"][number], document["video/attributes"][number]
        _check_row(path, entry, clips, first, stored)
        entries.append(entry)
        videos.append(ExportedVideo(stored, first, clips, entry, text))
    return Export(path, tuple(entries), tuple(videos), sha256, key)


def _refuse_foreign(path: Path, file: h5py.File, name: str) -> None:
    """An export holds its own data: no link to another file, no data stored elsewhere."""
    at = name.split("/")
    steps = ["/".join(at[: count + 1]) for count in range(len(at))]
    if not all(isinstance(file.get(step, getlink=True), h5py.HardLink) for step in steps):
        raise CacheError(f"{path}: {name} is a link, not data; export it again")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise CacheError(f"{path}: {name} lies in another file; export it again")


def _check_row(
    path: Path, entry: Entry, clips: int, first: dict[str, int], stored: dict[str, _Rows]
) -> None:
    """One video's numbers fit the datasets they point into."""
    numbers = (entry.label, clips, *first.values())
    good = (
        isinstance(entry.folder, str)
        and all(type(number) is int for number in numbers)
        and entry.label in (REAL, FAKE)
        and clips > 0
        and "crops" in first
        and all(0 <= row <= len(stored[name].places) - clips for name, row in first.items())
    )
    if not good:
        raise CacheError(f"{path}: the row of {entry.folder!r} is not whole; export it again")


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


def _column(path: Path, dataset: h5py.Dataset, size: int) -> list[Any]:
    """A small dataset as a list; one that cannot lie in a file of `size` bytes is not read."""
    if dataset.size * dataset.dtype.itemsize > size:
        raise CacheError(f"{path}: {dataset.name} is larger than the file; export it again")
    return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[...].tolist()


def _digest(document: dict[str, list[Any]], key: str, manifest: str) -> str:
    return hashlib.sha256(canonical([FORMAT, key, manifest, document]).encode()).hexdigest()
