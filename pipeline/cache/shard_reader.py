"""One array's shard file read without zarr-python: index once, then pread and decode of single
clips.

zarr-python's cost per read is many times that of the bytes themselves, so training reads through
this file. It knows only what writing.py writes (Zarr v3 sharding, chunk = clip, one shard a video,
index with crc32c at the end) and checks
the same sums as zarr-python: crc32c of the index, and of each chunk its xxh64 (zstd) or crc32c
(none). Missing chunks are an error here, where zarr-python gives black frames. Thread-safe;
decoding and reading release the GIL. Measured beside zarr-python on shuffled clips of real faces, 1
thread: zstd 3.1 times as fast, compact 3.6, none 15.
"""

from __future__ import annotations

import mmap
import os
import resource
import stat
import threading
import weakref
from pathlib import Path
from typing import ClassVar

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.codecs import Codec
from unmask.pipeline.errors import CacheError

ABSENT = 2**64 - 1
CRC_BYTES = 4

_scratch = threading.local()


class Shard:
    """The chunks of one array of one video.

    shape: of the array, first axis = chunks.
    codec: how its chunks are stored.
    size: bytes the file must have.
    Raises CacheError, here and when reading, for anything that is not as it was written.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype, codec: Codec, size: int
    ) -> None:
        self.path, self.shape, self.dtype, self.codec, self.size = path, shape, dtype, codec, size
        self.chunk_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        self._index: NDArray[np.uint64] | None = None
        self._mapped: _Mapped | None = None

    def empty(self, count: int) -> NDArray:
        """Room for `count` chunks, (count, *shape[1:]), laid out in memory so that reading into it
        copies nothing.
        """
        if (order := self.codec.order) is None:
            return np.empty((count, *self.shape[1:]), self.dtype)
        stored = np.empty((count, *(self.shape[1:][axis] for axis in order)), self.dtype)
        return stored.transpose(0, *(1 + order.index(axis) for axis in range(len(order))))

    def read(self, chunk: int, out: NDArray) -> None:
        """Decode one chunk into `out`, (shape[1:]) of its dtype, any layout. Raises CacheError,
        IndexError.
        """
        if not 0 <= chunk < self.shape[0]:
            raise IndexError(f"{self.path}: clip {chunk} of {self.shape[0]}")
        if out.shape != self.shape[1:] or out.dtype != self.dtype:
            raise ValueError(
                f"expected room for {self.shape[1:]} {self.dtype}, got {out.shape} {out.dtype}"
            )
        mapped = self._mapped
        if mapped is not None and mapped.copy(chunk, out):
            return
        order = self.codec.order
        stored = out if order is None else out.transpose(order)
        direct = stored if stored.flags.c_contiguous else self._room("decoded", stored.shape)
        self._fill(chunk, direct)
        if direct is not stored:
            np.copyto(stored, direct)

    def check_index(self) -> None:
        """Read the index now, so that damage shows before any chunk is asked for. Raises
        CacheError.
        """
        descriptor = self._open()
        try:
            self._places(descriptor)
        finally:
            os.close(descriptor)

    def _fill(self, chunk: int, out: NDArray) -> None:
        """Read, check and decode into contiguous `out`."""
        descriptor = self._open()
        try:
            offset, length = (int(x) for x in self._places(descriptor)[chunk])
            if self.codec.decode is None:
                return self._read_plain(descriptor, offset, length, chunk, out)
            packed = self._room("packed", (length,))
            self._pread(descriptor, [packed], offset, length)
        finally:
            os.close(descriptor)
        try:
            self.codec.decode(packed, out)
        except ValueError as error:
            raise self._damaged(f"clip {chunk}: {error}") from error

    def _read_plain(
        self, descriptor: int, offset: int, length: int, chunk: int, out: NDArray
    ) -> None:
        if length != self.chunk_bytes + CRC_BYTES:
            raise self._damaged(
                f"clip {chunk} has {length} bytes, expected {self.chunk_bytes + CRC_BYTES}"
            )
        crc = bytearray(CRC_BYTES)
        self._pread(descriptor, [out.reshape(-1).view(np.uint8), crc], offset, length)
        if google_crc32c.value(out) != int.from_bytes(crc, "little"):
            raise self._damaged(f"checksum of clip {chunk} does not match")
        mapped = self._mapped
        if mapped is None or not mapped.same(os.fstat(descriptor)):
            mapped = self._mapped = _Mapped.of(descriptor, self.shape[0])
        if mapped is not None:
            mapped.add(chunk, offset, out)

    def _places(self, descriptor: int) -> NDArray[np.uint64]:
        """(chunks, 2) offset and length, from the checked index at the end of the file."""
        if self._index is None:
            index_bytes = 16 * self.shape[0]
            if self.size < index_bytes + CRC_BYTES:
                raise self._damaged(
                    f"{self.size} bytes cannot hold the index of {self.shape[0]} clips"
                )
            room = bytearray(index_bytes + CRC_BYTES)
            self._pread(descriptor, [room], self.size - len(room), len(room))
            if google_crc32c.value(bytes(room[:index_bytes])) != int.from_bytes(
                room[index_bytes:], "little"
            ):
                raise self._damaged("checksum of the index does not match")
            places = np.frombuffer(room[:index_bytes], "<u8").reshape(-1, 2)
            self._check_places(places, self.size - len(room))
            self._index = places
        return self._index

    def _check_places(self, places: NDArray[np.uint64], end: int) -> None:
        for chunk, (offset, length) in enumerate(places.tolist()):
            if offset == ABSENT or length == ABSENT:
                raise self._damaged(f"clip {chunk} is missing")
            if not 0 < length <= end or offset > end - length:
                raise self._damaged(f"clip {chunk} lies outside the file")

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
            os.close(descriptor)
            raise self._damaged(f"{found.st_size} bytes, expected {self.size}")
        return descriptor

    def _pread(self, descriptor: int, room: list, offset: int, length: int) -> None:
        try:
            got = os.preadv(descriptor, room, offset)
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        if got != length:
            raise self._damaged(f"{got} bytes at {offset}, expected {length}")

    def _room(self, purpose: str, shape: tuple[int, ...]) -> NDArray:
        """This thread's buffer, used again by its next read: fresh pages for every clip cost more
        than decoding.
        """
        dtype = self.dtype if purpose == "decoded" else np.dtype(np.uint8)
        needed = int(np.prod(shape)) * dtype.itemsize
        held = getattr(_scratch, purpose, None)
        if held is None or len(held) < needed:
            held = np.empty(needed + needed // 4, np.uint8)
            setattr(_scratch, purpose, held)
        return held[:needed].view(dtype).reshape(shape)

    def _damaged(self, why: str) -> CacheError:
        return CacheError(
            f"{self.path.parent.parent}: {self.path.parent.name}/{self.path.name} is damaged: "
            f"{why}; "
            "`verify --repair` makes the video again"
        )


class _Mapped:
    """Uncompressed clips that were read and checked once, mapped: each further read is one copy in
    memory.

    Here pread was measured at 0.3 of np.memmap's speed, this at 0.9. A file that was touched since,
    also renamed or deleted, counts as another file and is read and checked again; to ask its
    descriptor takes half as long as its path. As with any memory map, a disk that fails under it
    ends the process.
    """

    alive: ClassVar[weakref.WeakSet[_Mapped]] = weakref.WeakSet()

    @classmethod
    def of(cls, descriptor: int, clips: int) -> _Mapped | None:
        """A map of this file, or None where maps would use up the files that the process may open:
        each holds two.
        """
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY and len(cls.alive) >= limit // 4:
            return None
        try:
            made = cls(descriptor, clips)
        except OSError:
            return None
        cls.alive.add(made)
        return made

    def __init__(self, descriptor: int, clips: int) -> None:
        self.descriptor, self.identity = os.dup(descriptor), _identity(os.fstat(descriptor))
        weakref.finalize(self, os.close, self.descriptor)
        self.bytes = np.frombuffer(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), np.uint8)
        self.chunks: list[NDArray | None] = [None] * clips  # None: not checked yet

    def same(self, found: os.stat_result) -> bool:
        return _identity(found) == self.identity

    def add(self, chunk: int, offset: int, like: NDArray) -> None:
        """Remember where a clip lies that was just read and checked."""
        self.chunks[chunk] = (
            self.bytes[offset : offset + like.nbytes].view(like.dtype).reshape(like.shape)
        )

    def copy(self, chunk: int, out: NDArray) -> bool:
        """Fill `out` if this clip was checked and the file is still the same; else False."""
        found = self.chunks[chunk]
        try:
            if found is None or not self.same(os.fstat(self.descriptor)):
                return False
        except OSError:
            return False
        np.copyto(out, found)
        return True


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
