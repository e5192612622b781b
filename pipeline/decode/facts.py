"""What a file says of how it was made, without looking at its pictures: container, encoder,
packets, sound. The audit asks whether this alone gives the label away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.containers import AV_ERRORS, open_container
from unmask.pipeline.decode.packets import is_flush
from unmask.pipeline.errors import VideoError

Value = str | float | None
Facts = dict[str, dict[str, Value]]

TAGS = ("major_brand", "compatible_brands", "encoder")
LONGEST = 100
X264 = re.compile(rb"x264 - core (\d+)")
CRF = re.compile(rb"crf=([\d.]+)")
HEARD_RATE, HEARD_SECONDS = 16_000, 60
# Packets from which a period is looked for, its longest, and the standard deviations from which it
# is believed: the highest of some thousand tries reaches 4 by chance.
FEW_PACKETS, LONGEST_PERIOD, SURE_PERIOD = 40, 60, 5.0
# The loudness above which a sample is no silence (Smeu et al. 2025, of sound between -1 and 1).
SILENCE = 5e-4


def facts_of(path: Path, limits: Limits) -> Facts:
    """Family -> name -> number, word, or None where the file does not say.

    Families: container, encoder, rate (packets only, nothing is decoded) and sound (its first
    minute, 16 kHz mono). A folder of pictures has none.
    Raises VideoError as scan does.
    """
    if path.is_dir():
        return {}
    try:
        with open_container(path, limits.max_pixels) as (container, stream):
            packets = _packets(container, stream, limits.max_frames)
            return {
                "container": _container(container, stream),
                "encoder": _encoder(stream, packets),
                "rate": _rate(stream, packets, path.stat().st_size),
                "sound": _sound(path, limits),
            }
    except AV_ERRORS as error:
        raise VideoError("corrupt", f"{type(error).__name__}: {error}"[:200]) from None


def _packets(
    container: InputContainer, stream: VideoStream, most: int
) -> list[tuple[int, bool, bool, bytes]]:
    """(bytes, key frame, shown later than decoded, first bytes) of each packet."""
    found: list[tuple[int, bool, bool, bytes]] = []
    for packet in container.demux(stream):
        if is_flush(packet) or len(found) >= most:
            break
        head = bytes(packet)[:4096] if not found else b""
        found.append((packet.size, packet.is_keyframe, _reordered(packet), head))
    return found


def _reordered(packet: Packet) -> bool:
    return packet.pts is not None and packet.dts is not None and packet.pts != packet.dts


def _container(container: InputContainer, stream: VideoStream) -> dict[str, Value]:
    kinds = sorted(one.type for one in container.streams)
    tags = {name: _word(container.metadata.get(name)) for name in TAGS}
    return {
        "format": container.format.name,
        **tags,
        "handler": _word(stream.metadata.get("handler_name")),
        "stream encoder": _word(stream.metadata.get("encoder")),
        "time base": str(stream.time_base),
        "streams": " ".join(kinds),
    }


def _word(text: str | None) -> str | None:
    return None if text is None else text[:LONGEST]


def _encoder(stream: VideoStream, packets: list[tuple[int, bool, bool, bytes]]) -> dict[str, Value]:
    codec, head = stream.codec_context, packets[0][3] if packets else b""
    core, crf = X264.search(head), CRF.search(head)
    return {
        "codec": codec.codec.canonical_name,
        "profile": _word(codec.profile),
        "pixel format": codec.pix_fmt,
        "x264": core and core[1].decode(),
        "crf": crf and float(crf[1]),
        "reordered": float(np.mean([later for _, _, later, _ in packets])) if packets else None,
    }


def _rate(
    stream: VideoStream, packets: list[tuple[int, bool, bool, bytes]], size: int
) -> dict[str, Value]:
    """Bits and groups of pictures; of a file without packets only its size."""
    if not packets:
        return {"file bytes": float(size)}
    bits = 8.0 * np.array([packet[0] for packet in packets])
    keys = np.flatnonzero([packet[1] for packet in packets])
    steps = np.diff(keys)
    codec, fps = stream.codec_context, float(stream.average_rate or 0)
    pixels = codec.width * codec.height
    others = np.delete(bits, keys)
    period, strength = period_of(others)
    return {
        "file bytes": float(size),
        "bits per second": float(bits.mean() * fps) if fps else None,
        "bits per pixel": float(bits.mean() / pixels) if pixels else None,
        "packet spread": float(bits.std() / bits.mean()) if bits.mean() else None,
        "key to other": float(bits[keys].mean() / others.mean())
        if len(keys) and len(others) and others.mean()
        else None,
        "key bits per pixel": float(bits[keys].mean() / pixels) if len(keys) and pixels else None,
        "other bits per pixel": float(others.mean() / pixels) if len(others) and pixels else None,
        "period": period,
        "period strength": strength,
        "key frames": float(len(keys)),
        "key distance": float(steps.mean()) if len(steps) else None,
        "key distance spread": float(steps.std()) if len(steps) else None,
    }


def period_of(bits: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The distance at which packets that are no key frames are larger, and how sure that is, in
    standard deviations: where an earlier encoder had its key frames, a later one pays once more
    (Vazquez-Padin et al. 2012). B-frames have a period of their own.

    None where nothing is sure, and both None where packets are few.
    """
    if len(bits) < FEW_PACKETS or bits.min() <= 0:
        return None, None
    logs = np.log(bits)
    smooth = np.array([np.median(logs[max(0, n - 3) : n + 4]) for n in range(len(logs))])
    rest = logs - smooth
    spread = 1.4826 * float(np.median(np.abs(rest - np.median(rest)))) or 1e-9
    rest = np.clip(rest / spread, -3, 3)
    rest = (rest - rest.mean()) / (rest.std() or 1.0)
    best, strength = None, 0.0
    for lag in range(3, min(len(rest) // 4, LONGEST_PERIOD) + 1):
        for phase in range(lag):
            part = rest[phase::lag]
            sure = float(part.mean() * np.sqrt(len(part)))
            if sure > strength:
                best, strength = float(lag), sure
    return (best if strength > SURE_PERIOD else None), strength


def _sound(path: Path, limits: Limits) -> dict[str, Value]:
    """Of the first sound stream; `heard` is "no" for a silent video."""
    with open_container(path, limits.max_pixels, delay="ignore") as (container, _):
        stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream is None:
            return {"heard": "no"}
        stream.discard = Discard.default
        facts: dict[str, Value] = {
            "heard": "yes",
            "sound codec": stream.codec_context.name,
            "sample rate": float(stream.rate or 0),
            "channels": float(stream.codec_context.channels),
            "sound bit rate": float(stream.bit_rate) if stream.bit_rate else None,
        }
        try:
            samples = np.concatenate(list(_samples(container, stream))).astype(np.float64)
        except AV_ERRORS:
            return {**facts, "heard": "damaged"}
        return facts | _loudness(samples / 32768)


def _samples(container: InputContainer, stream: object) -> Iterator[NDArray[np.int16]]:
    resampler, left = AudioResampler("s16", "mono", HEARD_RATE), HEARD_RATE * HEARD_SECONDS
    for frame in container.decode(stream):
        for piece in resampler.resample(frame):
            values = piece.to_ndarray()[0]
            yield values[:left]
            left -= len(values)
        if left <= 0:
            return


def _loudness(samples: NDArray[np.float64]) -> dict[str, Value]:
    """Leading and trailing silence, s; loudness, dB of full scale; share of exact zeros."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    first, last = (loud[0], loud[-1] + 1) if len(loud) else (len(samples), 0)
    power = float(np.mean(samples**2)) if len(samples) else 0.0
    return {
        "leading silence": first / HEARD_RATE,
        "trailing silence": (len(samples) - last) / HEARD_RATE,
        "loudness": 10 * float(np.log10(power + 1e-10)),
        "zeros": float(np.mean(samples == 0)) if len(samples) else None,
    }
