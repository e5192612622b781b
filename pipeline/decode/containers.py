"""A path comes in, an open container with its main video stream goes out; nothing hostile is
followed on the way.

Order of trust: the file system entry (never a FIFO or device), the first bytes, the container's
name against a list, the stream, the decoder. FFmpeg guesses a container by content, so a text file
named x.mp4 could be a playlist
that opens other files: only the containers below may be tried, and only the protocol `file`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import av
from av.container import InputContainer
from av.sidedata.sidedata import SideData, Type
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.ending import FileBytes, lacks_index, read_ending
from unmask.pipeline.decode.sample_tables import NO_MATTER, stated_samples
from unmask.pipeline.errors import VideoError
from unmask.pipeline.formats import CONTAINERS, guess

# What damaged bytes make PyAV raise: its own errors are also ValueError, IndexError, MemoryError
# and so on.
AV_ERRORS = (av.error.FFmpegError, ValueError, LookupError, ArithmeticError, EOFError, UnicodeError)

Delay = Literal["guess", "stated", "ignore"]

# The major version of PyAV; where 19 differs from 16 to 18, the place that knows says so.
PYAV = int(av.__version__.split(".")[0])

# PyAV before 19 raises on metadata that is not UTF-8 unless told otherwise; 19 replaces it and
# knows no such word.
_METADATA_ERRORS: dict[str, str] = {} if PYAV >= 19 else {"metadata_errors": "replace"}

_NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

# What an mp4 or a QuickTime file may begin with.
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})

_DEFAULT_WORTH = 5_000_000  # px

# libavcodec measures rows rounded up to 64 px; rows are at most 16,384 (VideoError too_large comes
# before).
_ROW_PADDING = 64 * 16384


def side_data_of(frame: VideoFrame) -> dict[Type, SideData]:
    """What the decoder attached to a frame, by kind.

    Raises ValueError when one is of a kind that PyAV does not know, such as the EXIF of a JPEG.
    """
    # Iterating gives entries before PyAV 19, and since then the kinds they are filed under.
    held = frame.side_data
    return {entry.type: entry for entry in (held.values() if PYAV >= 19 else held)}


def read_head(path: Path, length: int = 1024) -> bytes:
    """Read the first bytes of a regular file.

    Raises VideoError not_a_file, permission or missing; it never blocks on a FIFO because it looks
    before it opens.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise VideoError(
                "not_a_file", f"{path.name!r} is {_entry_name(mode)}; a video is a regular file"
            )
        with open(path, "rb") as file:
            return file.read(length)
    except FileNotFoundError:
        raise VideoError("missing", f"{path.name!r} is not there") from None
    except PermissionError:
        raise VideoError("permission", f"{path.name!r} may not be read by this user") from None
    except OSError as error:
        raise VideoError(
            "not_a_file", f"{path.name!r} cannot be opened: {error.strerror}"
        ) from None


def _entry_name(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device or socket"


@contextmanager
def open_container(
    path: Path, max_pixels: int, threads: int = 1, *, delay: Delay = "guess"
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and give its container and main video stream (cover art is none), decoder set
    up.

    max_pixels: of one frame; the decoder itself refuses more, also in the middle of a file.
    threads: of the decoder, 1 in a worker; more only helps a single interactive video.
    delay: how long the decoder holds frames back, which libavformat finds out by decoding seven;
    without that, an mp4 opens in a tenth of the time. `guess` does so always, `stated` where the
    stream does not state it, `ignore` never: the packets of an mp4 are then the same, but frames
    decoded in a row can come late or be lost.
    Raises VideoError not_a_file, permission, missing, not_a_video, truncated, corrupt, too_large,
    no_video_stream, unsupported_codec or out_of_memory.
    """
    head = read_head(path)
    # Other containers have no dts of their own: theirs follows from the delay.
    quick = delay != "guess" and head[4:8] == b"ftyp"
    container = _open_container(path, head, quick)
    if quick and delay == "stated" and not _states_delay(container):
        container.close()
        container = _open_container(path, head, quick=False)
    with container:
        stream = _main_video(container, path)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        codec = stream.codec_context
        codec.options = decoder_limit(max_pixels)
        codec.thread_count = threads
        codec.thread_type = "FRAME" if threads > 1 else "NONE"
        yield container, stream


def _states_delay(container: InputContainer) -> bool:
    """Whether every moving picture in it says how long its frames are held back; zero counts as
    saying nothing.
    """
    codecs = [stream.codec_context for stream in container.streams.video]
    return all(codec is not None and codec.has_b_frames for codec in codecs)


def _open_container(path: Path, head: bytes, quick: bool) -> InputContainer:
    words, kind = guess(head)
    if kind == "still":
        raise VideoError("no_video_stream", f"{path.name!r} looks like {words}")
    if head[4:8] in _BOXES:
        _refuse_impossible_index(path)
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    if quick:
        options["skip_frame"] = (
            "all"  # of the decoders that libavformat tries; ours has its own setting
        )
    try:
        container = open_input(os.path.abspath(path), options=options)
    except MemoryError:
        raise VideoError("out_of_memory", f"opening {path.name!r}") from None
    except AV_ERRORS as error:
        if kind != "video":
            raise VideoError("not_a_video", f"{path.name!r} looks like {words}") from None
        if read_ending(path).cut or lacks_index(path):
            raise VideoError("truncated", f"{path.name!r} ends before its index") from None
        raise VideoError(
            "corrupt", f"the header of {path.name!r} is damaged: {_short(error)}"
        ) from None
    if container.format.name not in CONTAINERS:
        name = container.format.name
        container.close()
        raise VideoError(
            "not_a_video", f"{path.name!r} is read as {name!r}, which is not an accepted container"
        )
    return container


def _refuse_impossible_index(path: Path) -> None:
    """Raises VideoError too_large."""
    with open(path, "rb") as file:
        data = FileBytes(file)
        stated = stated_samples(data)
        if stated > max(len(data), NO_MATTER):
            said = f"the index of {path.name!r} states {stated} samples in {len(data)} bytes"
            raise VideoError("too_large", said)


def open_input(
    file: str | BinaryIO, options: dict[str, str], name: str | None = None
) -> InputContainer:
    """Open a path or a file-like object with PyAV, the same under every PyAV; name: of the
    container, if known.

    Raises what PyAV raises (AV_ERRORS).
    """
    return av.open(file, format=name, options=options, **_METADATA_ERRORS)


def _short(error: BaseException) -> str:
    """One word for a library's error; its text repeats the absolute path."""
    return type(error).__name__


def _main_video(container: InputContainer, path: Path) -> VideoStream:
    moving = [s for s in container.streams.video if not s.disposition & _NOT_VIDEO]
    if moving:
        stream = max(moving, key=_preference)  # the first of equals
        if stream.codec_context is None:
            raise VideoError(
                "unsupported_codec", f"{path.name!r}: no decoder is installed for its video"
            )
        return stream
    if read_ending(path).cut:
        raise VideoError("truncated", f"{path.name!r} ends inside its index")
    kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
    raise VideoError(
        "no_video_stream", f"{path.name!r} holds {', '.join(kinds)} and no moving picture"
    )


def _preference(stream: VideoStream) -> int:
    """As ffmpeg chooses among several: by size, the default flag is worth 5 megapixels."""
    codec = stream.codec_context
    area = codec.width * codec.height if codec is not None else 0
    return area + _DEFAULT_WORTH * bool(stream.disposition & Disposition.default)


def decoder_limit(max_pixels: int) -> dict[str, str]:
    """Decoder options that refuse frames above max_pixels; the slack is for the row padding that
    it counts.
    """
    return {"max_pixels": str(max_pixels + _ROW_PADDING)}


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse a picture that is larger than the limits or smaller than a face; width, height in px.

    Raises VideoError too_large or too_small.
    """
    size = f"{width}x{height} px"
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise VideoError(
            "too_large",
            f"{size}, at most {limits.max_side} px a side and {limits.max_pixels} px in all",
        )
    if min(width, height) < limits.min_side:
        raise VideoError("too_small", f"{size}, at least {limits.min_side} px a side")
