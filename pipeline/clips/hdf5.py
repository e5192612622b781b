"""One manifest with its crops as one HDF5 file, read in place of manifest and cache.

    /crops   (M,T,S,S,3) uint8      one chunk a clip, video by video
    /bands   (M,T,3,K)   float16    likewise, where there are some
    /masks   (M,T,S,S)   uint8      likewise
    /index   (M,T)       int64      frame numbers of every clip of /crops
    /pts     (M,T)       float64    its seconds
    /crc32c/<array>      (M,) uint32, of each clip's plain bytes
    /video/{folder,label,clips,attributes}, /video/first_<array>
             one row a video, in the manifest's order; the first row of its clips in that array, -1
             where it has none; attributes as JSON text
    file attributes: format, key, manifest_sha256, and digest, the sha256 of everything but the
             clips

Any HDF5 reader opens it: only HDF5's own filters are used. Reading here asks h5py once where the
chunks lie and then reads them with pread in threads, because h5py lets only one thread at a time
into the library. hdf5_writer.py beside this file makes it.
"""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.attributes import checked_attributes
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.cache.zarr_layout import ARRAYS, MAX_CLIP_BYTES
from unmask.pipeline.disk.files import parse_json
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import FAKE, REAL, Entry

FORMAT = 1
MAGIC = b"\x89HDF\r\n\x1a\n"


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
    if document_digest(document, key, sha256) != file.attrs["digest"]:
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


def _column(path: Path, dataset: h5py.Dataset, size: int) -> list[Any]:
    """A small dataset as a list; one that cannot lie in a file of `size` bytes is not read."""
    if dataset.size * dataset.dtype.itemsize > size:
        raise CacheError(f"{path}: {dataset.name} is larger than the file; export it again")
    return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[...].tolist()


def document_digest(document: dict[str, list[Any]], key: str, manifest: str) -> str:
    """sha256 of everything in a file but its clips; manifest: sha256 of the manifest."""
    return hashlib.sha256(canonical([FORMAT, key, manifest, document]).encode()).hexdigest()
