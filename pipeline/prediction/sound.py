"""Copy a video's sound into its annotated film without decoding it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.containers import AV_ERRORS, open_container

# Codecs of sound that MP4 holds and browsers play; others are encoded again.
COPIED = ("aac", "mp3", "mp3float", "opus", "flac")


class Sound:
    """The first sound stream of the source, fed into the output as far as the picture has come."""

    def __init__(
        self, source: InputContainer, stream: AudioStream, out: OutputContainer, first: float
    ) -> None:
        self.out, self.first, self.base = out, first, stream.time_base
        self.copied = stream.codec_context.name in COPIED
        if self.copied:
            self.target = out.add_stream_from_template(stream)
            self.packets = self._copies(source, stream)
        else:
            self.target = out.add_stream("aac", rate=stream.rate or 48_000, layout="stereo")
            self.packets = self._encoded(source, stream)
        self.next: tuple[float, Packet] | None = None

    @classmethod
    def of(
        cls, stack: ExitStack, path: Path, limits: Limits, out: OutputContainer, first: float
    ) -> Sound | None:
        """None for a silent video, or one whose sound nobody here can decode."""
        source, _ = stack.enter_context(open_container(path, limits.max_pixels))
        for stream in source.streams.audio:
            if stream.codec_context is not None:
                stream.discard = Discard.default
                for other in source.streams:
                    if other.index != stream.index:
                        other.discard = Discard.all
                return cls(source, stream, out, first)
        return None

    def until(self, time: float) -> None:
        """Write the packets that start up to `time`, seconds from the first picture."""
        while True:
            self.next = self.next or next(self.packets, None)
            if self.next is None or self.next[0] > time:
                return
            packet, self.next = self.next[1], None
            self.out.mux(packet)

    def _copies(
        self, source: InputContainer, stream: AudioStream
    ) -> Iterator[tuple[float, Packet]]:
        shift = round(self.first / stream.time_base)
        last = None
        for packet in _demuxed(source, stream):
            if (
                packet.pts is None
                or packet.pts < shift
                or (last is not None and packet.pts <= last)
            ):
                continue  # before the first picture, or out of order, which MP4 cannot hold
            last = packet.pts
            packet.pts = packet.dts = packet.pts - shift
            packet.stream = self.target
            yield float(packet.pts * self.base), packet

    def _encoded(
        self, source: InputContainer, stream: AudioStream
    ) -> Iterator[tuple[float, Packet]]:
        resampler = AudioResampler(format="fltp", layout="stereo", rate=self.target.rate)
        done = 0
        for packet in _demuxed(source, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except AV_ERRORS:
                continue
            for frame in (piece for f in frames for piece in resampler.resample(f)):
                frame.pts, frame.time_base = done, Fraction(1, self.target.rate)
                done += frame.samples
                yield from self._timed(self.target.encode(frame))
        yield from self._timed(self.target.encode(None))

    def _timed(self, packets: list[Packet]) -> Iterator[tuple[float, Packet]]:
        for packet in packets:
            yield float((packet.pts or 0) * packet.time_base), packet


def _demuxed(source: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    packets = source.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except AV_ERRORS:
            return
        if packet is None or packet.size == 0:
            return
        yield packet
