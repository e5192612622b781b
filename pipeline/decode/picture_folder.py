"""A folder of PNG or JPEG frames, read like a video; names sort by their numbers, gaps allowed. A
single picture is a video of one frame.

Covers the extracted frames that many datasets ship and VidTIMIT's JPEG files without extension
(001, 002, ...).
Pictures carry no time: where the names are distinct numbers, number / 25 s is taken (so a gap in
the names is a gap in time), else position / 25 s; either way the flag times_from_rate says so. The
numbers go along as VideoInfo.numbers: two pictures are neighbours when their numbers are, not when
they lie side by side.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av import Packet
from av.codec.context import CodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.containers import AV_ERRORS, check_size, decoder_limit, read_head
from unmask.pipeline.decode.packets import is_variable
from unmask.pipeline.decode.planned import PlanBroken
from unmask.pipeline.decode.rgb import Converter, read_rotation, upright_size
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import VideoInfo

CONTAINER = "pictures"
RATE = 25.0
SUFFIXES = (".png", ".jpg", ".jpeg", "")

_PNG = b"\x89PNG\r\n\x1a\n"
_DECODERS = ((b"\xff\xd8\xff", "mjpeg"), (_PNG, "png"))
# JPEG's frame headers SOF0 to SOF15: C4, C8 and CC are other segments (ITU-T T.81, table B.1).
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_BYTES = 256 * 1024 * 1024
# EXIF orientation (tag 0x0112, type 3, count 1) with one of the four mirrored values, in either
# byte order.
_MIRRORED = re.compile(
    rb"Exif\0\0(?:II.{0,4000}?\x12\x01\x03\0\x01\0\0\0[\x02\x04\x05\x07]\0"
    rb"|MM.{0,4000}?\x01\x12\0\x03\0\0\0\x01\0[\x02\x04\x05\x07])",
    re.DOTALL,
)


def is_picture(path: Path) -> bool:
    """Whether a file is a single picture: by its name first, which costs nothing where videos are
    scanned, and then by its bytes.
    """
    if path.suffix.lower() not in SUFFIXES[:-1]:
        return False
    try:
        return path.is_file() and bool(_decoder_name(read_head(path, 16)))
    except OSError:
        return False


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder in frame order; other files, hidden ones and subfolders are
    left out. Of a picture itself it is the list.

    Where a frame is there as PNG and as JPEG it counts once, in the form that most frames have (PNG
    when both have as many).
    Raises VideoError permission or not_a_file when the folder holds none.
    """
    if is_picture(folder):
        return [folder]
    try:
        entries = [
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in SUFFIXES and entry.name[0] != "."
        ]
        found = [
            entry
            for entry in entries
            if entry.is_file() and (entry.suffix or _decoder_name(read_head(entry, 16)))
        ]
    except PermissionError:
        raise VideoError(
            "permission", f"folder {folder.name!r} may not be read by this user"
        ) from None
    if not found:
        raise VideoError("not_a_file", f"{folder.name!r} is a folder without PNG or JPEG pictures")
    return sorted(_one_form(found), key=_natural)


def _one_form(files: list[Path]) -> list[Path]:
    """Each stem once, in the form that most of them have."""
    forms = Counter(_form(path) for path in files)
    best_first = sorted(files, key=lambda path: (-forms[_form(path)], _form(path) != ".png"))
    return list({path.stem: path for path in reversed(best_first)}.values())


def _form(path: Path) -> str:
    return path.suffix.lower()


def _natural(path: Path) -> tuple[object, ...]:
    """Sort key: runs of digits by value, text between them by letters, then the whole name."""
    pieces = re.split(r"(\d+)", path.stem)
    return (
        *[
            (int(piece) if at % 2 else 0, "" if at % 2 else piece)
            for at, piece in enumerate(pieces)
        ],
        (0, path.name),
    )


def _numbers(files: list[Path]) -> NDArray[np.int64] | None:
    """The last number of each name, or None where some name has none or they do not increase."""
    found = [re.findall(r"\d+", path.stem)[-1:] for path in files]
    if not all(found):
        return None
    numbers = np.array([int(number[0][-15:]) for number in found], np.int64)
    return numbers if (np.diff(numbers) > 0).all() else None


def _decoder_name(head: bytes) -> str:
    return next((name for magic, name in _DECODERS if head.startswith(magic)), "")


def stated_size(data: bytes) -> tuple[int, int]:
    """Width and height in px that the header of a PNG or JPEG file states, (0, 0) when there is
    none.
    """
    if data.startswith(_PNG):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif data[at + 1] in _FRAME_HEADERS:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def read_picture(path: Path, max_pixels: int) -> VideoFrame | None:
    """Decode one PNG or JPEG file, None when it is damaged or something else; max_pixels of the
    picture.

    Raises VideoError too_large, unsupported_rotation for a mirrored EXIF orientation,
    out_of_memory.
    """
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    data = path.read_bytes()
    width, height = stated_size(data)
    if width * height > max_pixels:
        raise VideoError(
            "too_large", f"{path.name!r} is {width}x{height} px, at most {max_pixels} px in all"
        )
    name = _decoder_name(data[:16])
    if not name:
        return None
    if _MIRRORED.search(data[:65536]):
        raise VideoError("unsupported_rotation", f"the EXIF of {path.name!r} mirrors the picture")
    codec = CodecContext.create(name, "r")
    codec.options = decoder_limit(max_pixels)
    codec.thread_count = 1
    try:
        frames = codec.decode(Packet(data)) or codec.decode(None)
    except MemoryError:
        raise VideoError("out_of_memory", f"decoding {path.name!r}") from None
    except AV_ERRORS:
        return None
    return frames[0] if frames and not frames[0].is_corrupt else None


def read_rgb(path: Path, limits: Limits) -> NDArray[np.uint8]:
    """One PNG or JPEG file as (H, W, 3) uint8 RGB, upright by its EXIF; sixteen bits become
    eight within two levels.

    Raises VideoError corrupt, too_large, too_small, unsupported_rotation, unsupported_codec,
    out_of_memory.
    """
    frame = read_picture(path, limits.max_pixels)
    if frame is None:
        raise VideoError("corrupt", f"{path.name!r} is no PNG or JPEG that can be decoded")
    check_size(frame.width, frame.height, limits)
    rotation = read_rotation(frame)
    width, height = upright_size(frame, rotation)
    pixels = np.empty((height, width, 3), np.uint8)
    Converter(rotation).write(frame, pixels)
    return pixels


def _fits(frame: VideoFrame, width: int, height: int, rotation: int) -> bool:
    return read_rotation(frame) == rotation and upright_size(frame, rotation) == (width, height)


def _frames(files: list[Path], max_pixels: int) -> Iterator[tuple[Path, VideoFrame]]:
    """Every picture that decodes, in order; the others are stepped over."""
    for path in files:
        frame = read_picture(path, max_pixels)
        if frame is not None:
            yield path, frame


def scan(folder: Path, limits: Limits, *, planned: bool = True, guard: str = "") -> VideoInfo:
    """Count the pictures; planned takes the names' word for it, otherwise every picture is decoded.

    Raises VideoError not_a_file, permission, too_large, too_small, corrupt (too many damaged
    pictures), mixed_sizes, unsupported_rotation.
    """
    files = list_pictures(folder)
    if len(files) > limits.max_frames:
        raise VideoError("too_large", f"{len(files)} pictures, at most {limits.max_frames}")
    first = read_picture(files[0], limits.max_pixels)
    if planned and first is not None:
        return _info(files, first, limits, "planned", "")
    return _count(files, limits, guard or f"{files[0].name!r} does not decode")


def _count(files: list[Path], limits: Limits, guard: str) -> VideoInfo:
    good, first = [], None
    for path, frame in _frames(files, limits.max_pixels):
        if first is None:
            first, rotation = frame, read_rotation(frame)
        if not _fits(frame, *upright_size(first, rotation), rotation):
            raise VideoError(
                "mixed_sizes",
                f"{path.name!r} is {_described(frame)}, the first picture {_described(first)}; "
                "a folder of ready face crops needs no extraction: name it in a manifest",
            )
        good.append(path)
    bad = len(files) - len(good)
    if first is None or bad > limits.max_bad_packets * len(files):
        raise VideoError("corrupt", f"{bad} of {len(files)} pictures cannot be decoded")
    return _info(good, first, limits, "sequential", guard, ("incomplete", "damaged") if bad else ())


def _described(frame: VideoFrame) -> str:
    turned = read_rotation(frame)
    return f"{frame.width}x{frame.height} px" + (f" turned by {turned} degrees" if turned else "")


def _info(
    files: list[Path],
    first: VideoFrame,
    limits: Limits,
    method: str,
    guard: str,
    flags: tuple[str, ...] = (),
) -> VideoInfo:
    check_size(first.width, first.height, limits)
    rotation = read_rotation(first)
    width, height = upright_size(first, rotation)
    numbers = _numbers(files)
    seconds = (np.arange(len(files)) if numbers is None else numbers - numbers[0]) / RATE
    uneven = is_variable(np.rint(np.diff(seconds) * RATE).astype(np.int64))
    return VideoInfo(
        container=CONTAINER,
        codec=_decoder_name(read_head(files[0], 16)),
        pixel_format=first.format.name,
        width=width,
        height=height,
        rotation=rotation,
        fps=RATE,
        frames=len(files),
        pts=seconds,
        method=method,
        guard=guard,
        flags=(*flags, *(("vfr",) if uneven else ()), "times_from_rate"),
        numbers=numbers,
    )


def decode(
    folder: Path, info: VideoInfo, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (number, frame) of the wanted pictures (frame numbers, increasing).

    Raises PlanBroken when a picture of a planned folder is damaged or unlike the first one.
    """
    files, max_pixels = list_pictures(folder), info.width * info.height
    if info.method == "sequential":
        yield from enumerate(frame for _, frame in _frames(files, max_pixels))
        return
    for number in wanted.tolist():
        frame = _planned_picture(files[number], max_pixels) if number < len(files) else None
        if frame is None or not _fits(frame, info.width, info.height, info.rotation):
            name = files[number].name if number < len(files) else f"picture {number}"
            raise PlanBroken(f"{name!r} is damaged or of another size")
        yield number, frame


def _planned_picture(path: Path, max_pixels: int) -> VideoFrame | None:
    """As read_picture; one larger than the first picture is unlike the plan, whatever the limits
    say.
    """
    try:
        return read_picture(path, max_pixels)
    except VideoError as error:
        if error.reason == "too_large":
            return None
        raise
