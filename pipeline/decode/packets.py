"""The packet index of a video, the guards that say whether it can be trusted, and the plan of what
to decode.

Planned decode (ours): a file is demuxed once without decoding, its frames are numbered by the rank
of their pts, and then only the groups of pictures that hold wanted frames are fed to the decoder,
where unwanted frames that no other frame needs are skipped. It gives exactly the pixels of a plain
sequential decode, or it says that it cannot: PlanBroken.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.decode.containers import AV_ERRORS
from unmask.pipeline.errors import VideoError

NO_TIME = np.iinfo(np.int64).min
ROW = np.dtype([("pts", "i8"), ("dts", "i8"), ("key", "?"), ("discard", "?")])


@dataclass
class PacketIndex:
    """What one pass over the packets found.

    rows: (packets,) ROW in file order.
    first: first decodable frame, for its size, format and rotation.
    trouble: why the pass itself cannot be trusted, or "".
    last: the last packet.
    """

    rows: NDArray[np.void]
    first: VideoFrame | None
    trouble: str
    last: Packet | None


@dataclass
class _Columns:
    pts: array = field(default_factory=lambda: array("q"))
    dts: array = field(default_factory=lambda: array("q"))
    key: bytearray = field(default_factory=bytearray)
    discard: bytearray = field(default_factory=bytearray)

    def append(self, packet: Packet) -> None:
        self.pts.append(NO_TIME if packet.pts is None else packet.pts)
        self.dts.append(NO_TIME if packet.dts is None else packet.dts)
        self.key.append(packet.is_keyframe)
        self.discard.append(packet.is_discard)

    def rows(self) -> NDArray[np.void]:
        rows = np.empty(len(self.pts), ROW)
        rows["pts"], rows["dts"] = self.pts, self.dts
        rows["key"] = np.frombuffer(self.key, np.uint8)
        rows["discard"] = np.frombuffer(self.discard, np.uint8)
        return rows


def is_flush(packet: Packet) -> bool:
    """Whether demux made this packet up at the end of the file, to drain the decoder."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def list_packets(container: InputContainer, stream: VideoStream, max_frames: int) -> PacketIndex:
    """Demux the whole file once, decoding no further than its first frame.

    Raises VideoError too_large for more than max_frames packets, out_of_memory.
    """
    columns, first, trouble, last = _Columns(), None, "", None
    try:
        for packet in container.demux(stream):
            if is_flush(packet):
                break
            if first is None:
                first = _decode_alone(stream, packet)
            columns.append(packet)
            if packet.is_corrupt:
                trouble = trouble or f"packet {len(columns.pts) - 1} is marked corrupt"
            last = packet
            if len(columns.pts) > max_frames:
                raise VideoError("too_large", f"more than {max_frames} frames")
    except MemoryError:
        raise VideoError("out_of_memory", f"packet {len(columns.pts)}") from None
    except AV_ERRORS as error:
        trouble = trouble or f"{type(error).__name__} at packet {len(columns.pts)}"
    return PacketIndex(columns.rows(), first, trouble, last)


def _decode_alone(stream: VideoStream, packet: Packet) -> VideoFrame | None:
    """The frame of one packet, without waiting for the packets after it; None where it needs
    others.
    """
    codec = stream.codec_context
    frames = [*codec.decode(packet), *codec.decode(None)]
    codec.flush_buffers()
    return next(iter(frames), None)


def shown_order(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Frame number -> position in the file (frames,): rank by pts among the packets that are
    shown.
    """
    shown = np.flatnonzero(~rows["discard"])
    return shown[np.argsort(rows["pts"][shown], kind="stable")]


def is_steady(steps: NDArray[np.int64]) -> bool:
    """Whether 95 % of the pts steps (ticks) are equal, up to one tick where a coarse clock rounds
    (33, 33, 34 ms).
    """
    if not len(steps):
        return True
    return float((np.abs(steps - np.median(steps)) <= _rounding(steps)).mean()) >= 0.95


def is_variable(steps: NDArray[np.int64]) -> bool:
    """Whether any step (ticks) differs from the median by more than rounding and 5 %: a variable
    frame rate.
    """
    if not len(steps):
        return False
    median = np.median(steps)
    return bool((np.abs(steps - median) > max(_rounding(steps), 0.05 * median)).any())


def _rounding(steps: NDArray[np.int64]) -> int:
    return 1 if np.median(steps) >= 8 else 0
