"""What the index of an mp4 says it has, before a demuxer makes room for it.

Its tables count in runs: ten bytes can state twenty million samples, and libavformat keeps some 35
bytes for each, as soon as a file is opened. A sample has at least one byte, so that a table which
states more of them than the file has bytes is a lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.decode.ending import FileBytes

# Boxes that hold boxes on the way to the tables (ISO/IEC 14496-12, table 1).
_HOLD = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_RUNS = frozenset({b"stts", b"ctts"})  # pairs (samples, value) of 32 bits each
_SIZES = frozenset({b"stsz", b"stz2"})
_MOST_BOXES = 100_000
_MOST_RUNS = 4_000_000
# So many cost nothing to speak of, whatever the size of the file.
NO_MATTER = 1_000_000


@dataclass
class _Track:
    """Samples that the tables of a track state, each table by its own count; of sound that is
    stored sample by sample (PCM) libavformat keeps runs.
    """

    counts: list[int] = field(default_factory=list)
    runs: bool = False


def stated_samples(data: FileBytes) -> int:
    """The most samples that a track, or all fragments together, state: what room is made for."""
    tracks, fragments = [_Track()], 0
    for number, (name, start, stop) in enumerate(_boxes(data, 0, len(data))):
        if number > _MOST_BOXES:
            break
        if name == b"trak":
            tracks.append(_Track())
        elif name in _SIZES:  # version and flags, size of all samples or width of an entry, count
            tracks[-1].counts.append(_number(data, start + 8))
        elif name in _RUNS:
            runs = _runs(data, start, stop)
            tracks[-1].counts.append(int(runs[:, 0].sum(dtype=np.uint64)))
            tracks[-1].runs |= name == b"stts" and runs[:, 1].tolist() == [1]
        elif name == b"trun":
            fragments += _number(data, start + 4)
    return max(fragments, *(max(t.counts, default=0) for t in tracks if not t.runs), 0)


def _boxes(data: FileBytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start and stop of the content) of every box, those that hold others before these."""
    ends = [stop]
    at = start
    while at + 8 <= ends[0]:
        while at >= ends[-1]:
            ends.pop()
        length, name = struct.unpack(">I4s", data.part(at, at + 8).ljust(8, b"\0"))
        content = at + 8
        if length == 1:
            length = int.from_bytes(data.part(content, content + 8), "big")
            content += 8
        if length < content - at:  # the rest of the file, or no box at all
            return
        end = min(at + length, ends[-1])
        yield name, content, end
        if name in _HOLD:
            ends.append(end)
            at = content
        else:
            at = end


def _number(data: FileBytes, at: int) -> int:
    return int.from_bytes(data.part(at, at + 4), "big")


def _runs(data: FileBytes, start: int, stop: int) -> NDArray[np.uint32]:
    """(N, 2) samples and value of each run of a table, as far as it has bytes for them."""
    count = min(_number(data, start + 4), max(0, stop - start - 8) // 8, _MOST_RUNS)
    raw = data.part(start + 8, start + 8 + 8 * count)
    return np.frombuffer(raw, ">u4", len(raw) // 8 * 2).reshape(-1, 2)
