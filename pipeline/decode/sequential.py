"""The two ways through the packets of an open video, planned and sequential; both yield frames in
display order.

The sequential walk is what "decode this file" plainly means and the measure of the planned one. The
guards over the planned walk's frames are ours.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from av import Packet
from av.container import InputContainer
from av.error import DecoderNotFoundError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from unmask.pipeline.decode.account import promises_picture
from unmask.pipeline.decode.containers import AV_ERRORS
from unmask.pipeline.decode.packets import NO_TIME, is_flush
from unmask.pipeline.errors import VideoError

# Width over height may differ by so much where pictures are rounded to whole macroblocks.
SAME_SHAPE = 0.02


@dataclass
class Tally:
    """What a sequential decode met on its way.

    packets, discarded: packets read, and those of them that the container hides.
    bad: packets that could not be decoded; last_bad: whether the last one was.
    marked: packets marked corrupt; last_marked: whether the last one was.
    corrupt: frames marked so.
    ended_early: the container stopped with an error.
    interlaced: some frame was.
    sizes: (width, height) as stored, px -> frames of that size, in order of appearance.
    pictures: pts of each packet that promises a picture, NO_TIME where it has none.
    first_key: whether the first packet is a keyframe.
    first_dts, last_dts: of the first packet that has one, and the highest, ticks.
    last: the last packet.
    """

    packets: int = 0
    discarded: int = 0
    bad: int = 0
    last_bad: bool = False
    marked: int = 0
    last_marked: bool = False
    corrupt: int = 0
    ended_early: bool = False
    interlaced: bool = False
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pictures: array = field(default_factory=lambda: array("q"))
    first_key: bool = True
    first_dts: int | None = None
    last_dts: int | None = None
    last: Packet | None = None

    def share_bad(self) -> float:
        """Share of bad packets; a bad last one is where the file was cut, not damage."""
        return (self.bad - self.last_bad) / max(self.packets, 1)

    def note(self, packet: Packet, codec: str) -> None:
        """Count a packet before it is decoded."""
        if not self.packets:
            self.first_key = packet.is_keyframe
        self.packets += 1
        self.discarded += packet.is_discard
        self.last_bad, self.last_marked = False, packet.is_corrupt
        self.marked += packet.is_corrupt
        if promises_picture(packet, codec):
            self.pictures.append(NO_TIME if packet.pts is None else packet.pts)
        if packet.dts is not None:
            self.first_dts = packet.dts if self.first_dts is None else self.first_dts
            self.last_dts = max(packet.dts, self.last_dts or 0)
        self.last = packet


def decode_all(
    container: InputContainer, stream: VideoStream, tally: Tally
) -> Iterator[VideoFrame]:
    """Decode every packet in turn and yield all frames in display order, stepping over damaged
    packets.

    Raises VideoError mixed_sizes for a picture of another shape than the first, out_of_memory,
    unsupported_codec.
    """
    for frame in _decode_packets(container, stream, tally):
        tally.corrupt += frame.is_corrupt
        tally.interlaced |= frame.interlaced_frame
        size = frame.width, frame.height
        if size not in tally.sizes:
            _check_shape(next(iter(tally.sizes), size), size)
        tally.sizes[size] += 1
        yield frame


def _check_shape(first: tuple[int, int], size: tuple[int, int]) -> None:
    """Pictures that differ in size only can be scaled to one; others would be squeezed."""
    if abs(size[0] * first[1] / (size[1] * first[0]) - 1) > SAME_SHAPE:
        raise VideoError(
            "mixed_sizes",
            f"the picture changes from {first[0]}x{first[1]} to {size[0]}x{size[1]} px",
        )


def _decode_packets(
    container: InputContainer, stream: VideoStream, tally: Tally
) -> Iterator[VideoFrame]:
    packets, codec = container.demux(stream), stream.codec_context.codec.canonical_name
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise VideoError("out_of_memory", f"reading packet {tally.packets}") from None
        except AV_ERRORS:
            tally.ended_early, packet = True, None
        if packet is None or is_flush(packet):
            break
        tally.note(packet, codec)
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
