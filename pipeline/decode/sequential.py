"""The two ways through the packets of an open video, planned and sequential; both yield frames in
display order.

The sequential walk is what "decode this file" plainly means and the measure of the planned one. The
guards over the planned walk's frames are ours. Tests make several of them fire; a change of picture
size or format inside a video has no test file yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from av import Packet
from av.container import InputContainer
from av.error import DecoderNotFoundError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from unmask.pipeline.decode.containers import AV_ERRORS
from unmask.pipeline.decode.packets import is_flush
from unmask.pipeline.errors import VideoError


@dataclass
class Tally:
    """What a sequential decode met on its way.

    bad: packets that could not be decoded; last_bad: whether the last one was.
    corrupt: frames marked so.
    ended_early: the container stopped with an error.
    end: pts + duration of the last packet shown, ticks.
    """

    packets: int = 0
    bad: int = 0
    last_bad: bool = False
    corrupt: int = 0
    ended_early: bool = False
    end: int | None = None
    interlaced: bool = False

    @property
    def damaged(self) -> bool:
        return bool(self.bad or self.corrupt or self.ended_early)

    def share_bad(self) -> float:
        """Share of bad packets; a bad last one is where the file was cut, not damage."""
        return (self.bad - self.last_bad) / max(self.packets, 1)


def decode_all(
    container: InputContainer, stream: VideoStream, tally: Tally
) -> Iterator[VideoFrame]:
    """Decode every packet in turn and yield all frames in display order, stepping over damaged
    packets.
    """
    size = None
    for frame in _decode_packets(container, stream, tally):
        tally.corrupt += frame.is_corrupt
        tally.interlaced |= frame.interlaced_frame
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            now = f"{frame.width}x{frame.height}"
            raise VideoError(
                "corrupt", f"the picture size changes from {size[0]}x{size[1]} to {now} px"
            )
        yield frame


def _decode_packets(
    container: InputContainer, stream: VideoStream, tally: Tally
) -> Iterator[VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise VideoError("out_of_memory", f"reading packet {tally.packets}") from None
        except AV_ERRORS:
            tally.ended_early, packet = True, None
        if packet is None or is_flush(packet):
            break
        tally.packets += 1
        tally.last_bad = False
        if packet.pts is not None and not packet.is_discard:
            tally.end = max(tally.end or packet.pts, packet.pts + (packet.duration or 0))
        yield from _decode_packet(stream, packet, tally)
    yield from _decode_packet(stream, None, tally)


def _decode_packet(stream: VideoStream, packet: Packet | None, tally: Tally) -> list[VideoFrame]:
    try:
        return stream.codec_context.decode(packet)
    except MemoryError:
        raise VideoError("out_of_memory", f"decoding packet {tally.packets}") from None
    except DecoderNotFoundError:
        raise VideoError(
            "unsupported_codec", f"{stream.codec_context.name} cannot decode this video"
        ) from None
    except AV_ERRORS:
        tally.bad += packet is not None
        tally.last_bad = packet is not None
        return []
