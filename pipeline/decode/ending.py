"""A file comes in; what its bytes say about its own end goes out, whatever the demuxer makes of
them.

A demuxer reads as far as it can and calls the rest the end. Most containers say more: a box, list
or segment has a size, a transport stream is cut into packets, a GIF has a trailer, an ASF header
and an FLV script hold the size of the file and its duration. Each reader below looks at these only;
no picture is decoded.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

HEAD = 4096
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
# File Properties Object (ASF specification 1.20, section 3.2).
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1
_EBML_SEGMENT, _EBML_CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
# What may lie in a file, a segment and a cluster (Matroska, RFC 9559, section 5.1).
_EBML_KNOWN = frozenset(
    map(
        bytes.fromhex,
        (
            *("1a45dfa3", "18538067", "114d9b74", "1549a966", "1654ae6b", "1f43b675", "1c53bb6b"),
            *("1941a469", "1043a770", "1254c367", "ec", "bf"),
            *("e7", "a3", "a0", "a7", "ab", "af", "5854"),
        ),
    )
)
_EBML_HEADER = 12  # bytes, the largest there is
_OGG_PAGE = 65307  # bytes, the largest there is
_GIF_SIZES = 6, 7  # bytes of the signature, of the screen descriptor


@dataclass(frozen=True)
class Ending:
    """What the bytes of a file tell.

    cut: why it is known to end too early, "" where nothing says so.
    broken: where its structure is damaged before its end, "" where nothing is found.
    seconds: the time from 0 at which the file should end, where its header says so in a place
        that the demuxer leaves out.
    pictures: how many the structure holds, of a GIF.
    """

    cut: str = ""
    broken: str = ""
    seconds: float | None = None
    pictures: int | None = None


class FileBytes:
    """A file as a sequence of bytes, read a block at a time; bytes that are gone read as nothing.

    Not a memory map: that kills the process where the file shrinks while it is read.
    """

    BLOCK = 4096

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._length = file, os.fstat(file.fileno()).st_size
        self._start, self._block = 0, b""

    def __len__(self) -> int:
        return self._length

    def part(self, start: int, stop: int) -> bytes:
        """[start:stop], shorter at the end of the file."""
        if not self._start <= start <= stop <= self._start + len(self._block):
            self._file.seek(start)
            self._start, self._block = start, self._file.read(max(self.BLOCK, stop - start))
        return self._block[start - self._start : stop - self._start]

    def byte(self, at: int) -> int:
        """One byte, 0 behind the end of the file."""
        return (self.part(at, at + 1) or b"\0")[0]


def read_ending(path: Path) -> Ending:
    """Look at the structure of a regular file; an unknown one tells nothing. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
        if not head:
            return Ending()
        reader = _reader_of(head)
        if reader is None:
            return Ending()
        return reader(FileBytes(file), head)


def lacks_index(path: Path) -> bool:
    """Whether an mp4 has no `moov`, which is written last."""
    with open(path, "rb") as file:
        head = file.read(16)
        if not head[4:8].isalpha():
            return False
        return not _walk_boxes(FileBytes(file))[1]


def _reader_of(head: bytes) -> Callable[[FileBytes, bytes], Ending] | None:
    if head[:4] == b"RIFF":
        return _riff
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _ebml
    if head[:4] == b"GIF8":
        return _gif
    if head[:4] == b"FLV\x01":
        return _flv
    if head[:16] == _ASF:
        return _asf
    if head[:4] == b"OggS":
        return _ogg
    if head[:4] == b"\0\0\x01\xba":
        return _program_stream
    if _transport_packets(head)[0]:
        return _transport_stream
    if re.match(rb".{4}(?:ftyp|moov|mdat|wide|free|skip)", head, re.DOTALL):
        return _boxes
    return None


def _riff(data: FileBytes, head: bytes) -> Ending:
    declared = int.from_bytes(head[4:8], "little") + 8
    return Ending(cut=_sizes(declared, len(data)))


def _sizes(declared: int, size: int) -> str:
    return f"{size} bytes of the {declared} that it declares" if declared > size else ""


def _boxes(data: FileBytes, head: bytes) -> Ending:
    return Ending(cut="its last box is cut" if _walk_boxes(data)[0] else "")


def _walk_boxes(data: FileBytes) -> tuple[bool, bool]:
    """Walk the top-level boxes of an mp4 (ISO/IEC 14496-12, section 4.2): is the last one cut, is
    there a `moov`?
    """
    position, index = 0, False
    while position < len(data):
        header = data.part(position, position + 16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        index |= header[4:8] == b"moov"
        if length == 0 or (length < 8 and len(header) >= 8):
            return False, index
        position += max(length, 8)
    return position > len(data), index


def _ebml_size(data: FileBytes, at: int) -> tuple[int, int]:
    """The size of an EBML element (RFC 8794, section 4): value and length in bytes, length 0 where
    there is none. A size of all ones, which means unknown, is -1.
    """
    first = data.byte(at)
    length = 9 - first.bit_length() if first else 0
    if not length or at + length > len(data):
        return 0, 0
    most = (1 << 7 * length) - 1
    value = int.from_bytes(data.part(at, at + length), "big") & most
    return (-1 if value == most else value), length


def _ebml(data: FileBytes, head: bytes) -> Ending:
    """Walk the top level of Matroska; of a live one, which declares no duration, the clusters
    too.
    """
    at, end, live = 0, len(data), False
    while at < end:
        name = data.part(at, at + 9 - data.byte(at).bit_length())
        size, size_length = _ebml_size(data, at + len(name))
        if name not in _EBML_KNOWN or not size_length:
            if end - at < _EBML_HEADER:
                return Ending(cut="its last element is cut")
            return Ending(broken=f"no element at byte {at}")
        content = at + len(name) + size_length
        if name == _EBML_SEGMENT and size >= 0 and content + size > end:
            return Ending(cut=_sizes(content + size, end))
        live |= name == _EBML_SEGMENT and size < 0
        if name == _EBML_SEGMENT or (name == _EBML_CLUSTER and (live or size < 0)):
            at = content
        elif size < 0 or content + size > end:
            return Ending(cut="its last element is cut")
        else:
            at = content + size
    return Ending()


def _gif(data: FileBytes, head: bytes) -> Ending:
    """Walk the blocks of a GIF to its trailer (GIF89a specification, sections 18 to 27)."""

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    def after_blocks(at: int) -> tuple[int, bool]:
        """Where the blocks end, and whether all but the last are full, as encoders fill them."""
        length = full = 255
        regular = True
        while at < end and (following := data.byte(at)):
            regular &= length == full
            length, at = following, at + 1 + following
        return at + 1, regular

    end, pictures, irregular = len(data), 0, 0
    at = sum(_GIF_SIZES) + (table(head[10]) if end > 10 else 0)
    while at < end:
        kind = data.byte(at)
        if kind == 0x3B:
            # Damage that swallows whole pictures falls back into step, yet leaves such blocks.
            odd = 0 < irregular < pictures / 4
            broken = f"the blocks of {irregular} pictures are uneven" if odd else ""
            return Ending(broken=broken, pictures=pictures)
        if kind == 0x21:
            at, _ = after_blocks(at + 2)
        elif kind == 0x2C and at + 9 < end:
            pictures += 1
            at, regular = after_blocks(at + 11 + table(data.byte(at + 9)))
            irregular += not regular
        elif end - at < 10:
            break
        else:
            return Ending(broken=f"no block at byte {at}", pictures=pictures)
    return Ending(cut="it has no trailer", pictures=pictures)


def _flv(data: FileBytes, head: bytes) -> Ending:
    """The script's file size and duration; the last tag's time says how far all streams reach."""

    def number(name: bytes) -> float | None:
        # An AMF property: its name, the type 0, a big-endian double.
        found = re.search(name + rb"\0(.{8})", head, re.DOTALL)
        value = struct.unpack(">d", found[1])[0] if found else 0.0
        return value if 0 < value < 1e9 else None

    size, seconds = number(b"filesize") or 0, number(b"duration")
    cut = _sizes(int(size), len(data))
    length = int.from_bytes(data.part(max(0, len(data) - 4), len(data)), "big")
    at = len(data) - 4 - length
    tag = data.part(at, at + 11) if length >= 11 and at >= 0 else b""
    if len(tag) < 11 or tag[0] & 0x1F not in (8, 9, 18):
        return Ending(cut=cut or "its last tag is cut", seconds=seconds)
    reached = (int.from_bytes(tag[4:7], "big") | tag[7] << 24) / 1000
    if not cut and seconds is not None and seconds - reached > 0.5:
        cut = f"its last tag is of second {reached:.2f}, it declares {seconds:.2f} s"
    # Sound may go on after the picture, so the end is the picture's only where the file is cut.
    return Ending(cut=cut, seconds=seconds if cut else None)


def _asf(data: FileBytes, head: bytes) -> Ending:
    at = head.find(_ASF_FILE)
    if at < 0 or at + 104 > len(head):
        return Ending()
    declared, _, _, play, _, preroll, flags = struct.unpack("<QQQQQQI", head[at + 40 : at + 92])
    if flags & _ASF_BROADCAST:
        return Ending()
    seconds = play / 1e7 - preroll / 1e3
    cut = _sizes(declared, len(data))
    more = f"{len(data) - declared} bytes more than it declares"
    return Ending(
        cut=cut,
        broken=more if 0 < declared < len(data) else "",
        seconds=seconds if cut and 0 < seconds < 1e9 else None,
    )


def _ogg(data: FileBytes, head: bytes) -> Ending:
    """The last page must be whole and say that its stream ends (RFC 3533, section 6)."""
    tail = data.part(max(0, len(data) - 2 * _OGG_PAGE), len(data))
    at = tail.rfind(b"OggS")
    if at < 0:
        return Ending(cut="it does not end in a page")
    page = tail[at:]
    table = page[26] if len(page) > 26 else 0
    sizes = page[27 : 27 + table]
    if not table or len(sizes) < table or 27 + table + sum(sizes) > len(page):
        return Ending(cut="its last page is cut")
    return Ending(cut="" if page[5] & 4 else "its last page is not the end of a stream")


def _program_stream(data: FileBytes, head: bytes) -> Ending:
    """Walk packs and packets (ISO/IEC 13818-1, section 2.5.3; MPEG-1's packs are two bytes
    shorter).
    """
    at, end = 0, len(data)
    while at < end:
        start = data.part(at, at + 14)
        if len(start) < 4:
            return Ending(cut="its last packet is cut")
        if start[:3] != b"\0\0\x01" or start[3] < 0xB9:
            return Ending(broken=f"no packet at byte {at}")
        if start[3] == 0xB9:
            return Ending()
        if start[3] == 0xBA:
            second = len(start) > 4 and start[4] >> 6 == 1
            at += (14 + (start[13] & 7) if len(start) > 13 else 14) if second else 12
        else:
            at += 6 + int.from_bytes(start[4:6], "big")
    return Ending(cut="its last packet is cut" if at > end else "")


def _transport_packets(head: bytes) -> tuple[int, int]:
    """Length of a transport stream's packets and where their 0x47 stands, (0, 0) for other files.

    188 bytes; 204 with error correction; 192 with a time before each, as on discs.
    """
    return next(
        (
            (length, first)
            for length, first in ((188, 0), (204, 0), (192, 4))
            if head[first::length][:4] == b"GGGG"
        ),
        (0, 0),
    )


def _transport_stream(data: FileBytes, head: bytes) -> Ending:
    """Writers repeat their tables before pictures, never after the last one, and fill the last
    packet of a picture up with stuffing (ISO/IEC 13818-1, section 2.4.3).
    """
    length, first = _transport_packets(head)
    if len(data) % length:
        return Ending(cut="its last packet is cut")
    start = len(data) - length + first
    packet = data.part(start, start + 188)
    adaptation = packet[3] >> 4 & 3
    content = packet[5 + packet[4] if adaptation & 2 else 4 :]
    null = packet[1] & 0x1F == 0x1F and packet[2] == 0xFF
    many = 4096 * length
    for at in range(0, len(data), many):
        rows = np.frombuffer(data.part(at, min(at + many, len(data))), np.uint8)
        rows = rows[: len(rows) // length * length].reshape(-1, length)  # (packets, length)
        if (wrong := np.flatnonzero(rows[:, first] != 0x47)).size:
            return Ending(broken=f"no packet at byte {at + int(wrong[0]) * length}")
    if packet[1] & 0x40 and adaptation & 1 and content[:3] != b"\0\0\x01" and not null:
        return Ending(cut="it ends in a table of streams, before what the table announces")
    return Ending()
