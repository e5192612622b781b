"""What a few decoded frames say of how a video was made: the quantiser, traces of an earlier
compression, and what stands in the corners. The audit asks whether that gives the label away.

The face is not looked at: all pixels are of the frame's rim and corners.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import PictureType
from numpy.typing import NDArray
from scipy.fft import dctn

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.containers import AV_ERRORS, open_container, side_data_of
from unmask.pipeline.decode.facts import Facts, Value
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import VideoInfo

# Frames asked for their quantiser, from the first; frames looked at, spread over the video.
QUANTISED, SEEN = 24, 8
# The rim as a share of the shorter side, and a corner as shares of height and width.
RIM, CORNER = 0.15, (1 / 6, 1 / 5)
# A pixel of an edge, in levels a pixel, and one that stays, in levels over time.
EDGE, STAYS = 24.0, 4.0
BLOCK = 8
# Sizes of a coefficient that are counted.
LEVELS = 64
# Blockiness from which the phase of a grid says anything, in levels.
SURE = 0.5
# FFmpeg's side data: u32 blocks, u64 offset, u64 size of one, i32 type, i32 base; the fifth i32 of
# a block is its difference from the base.
ENC_HEAD, ENC_BLOCK = struct.Struct("=I4xQQii"), struct.Struct("=iiiii")
CORNERS = {
    "top left": (False, False),
    "top right": (False, True),
    "bottom left": (True, False),
    "bottom right": (True, True),
}


def frame_facts_of(path: Path, limits: Limits) -> tuple[VideoInfo, Facts]:
    """scan's answer, and the families rate (the quantiser alone) and frame.

    The quantiser is on the codec's own scale, and None where FFmpeg does not export it (H.265,
    AV1); bits per pixel of key frames and others, of facts_of, then stand for it.
    A video whose frames do not decode to the end has no family frame.
    Raises VideoError as scan does.
    """

    def read(info: VideoInfo) -> tuple[VideoInfo, Facts]:
        places = np.unique(np.linspace(0, info.frames - 1, min(SEEN, info.frames)).astype(int))
        try:
            clips = decode_clips(path, info, places[:, None])
            pictures = np.stack([np.asarray(clip.pixels)[0] for clip in clips])
        except VideoError:
            return info, {}
        return info, {"frame": frame_numbers_of(pictures)}

    info, facts = with_fallback(path, limits, read)
    quantiser = {} if path.is_dir() else {"rate": quantiser_of(path, limits)}
    return info, facts | quantiser


def quantiser_of(path: Path, limits: Limits) -> dict[str, Value]:
    """Mean and spread of the quantiser over the first frames, of key frames and of others."""
    key: list[float] = []
    other: list[float] = []
    try:
        with open_container(path, limits.max_pixels) as (container, stream):
            stream.codec_context.options = {"export_side_data": "+venc_params"}
            for number, frame in enumerate(container.decode(stream)):
                if number >= QUANTISED:
                    break
                entry = side_data_of(frame).get(Type.VIDEO_ENC_PARAMS)
                value = None if entry is None else _quantiser(bytes(entry))
                if value is not None:
                    (key if frame.pict_type == PictureType.I else other).append(value)
    except AV_ERRORS:  # what decodes was told; the rest of the audit says that it is damaged
        pass
    every = [*key, *other]
    return {
        "quantiser": float(np.mean(every)) if every else None,
        "quantiser spread": float(np.std(every)) if every else None,
        "quantiser of key frames": float(np.mean(key)) if key else None,
        "quantiser of others": float(np.mean(other)) if other else None,
    }


def _quantiser(data: bytes) -> float | None:
    """Base and mean difference of one frame's blocks."""
    if len(data) < ENC_HEAD.size:
        return None
    blocks, offset, size, _, base = ENC_HEAD.unpack_from(data)
    if not blocks or size < ENC_BLOCK.size or offset + blocks * size > len(data):
        return float(base)
    rows = np.frombuffer(data, np.uint8, blocks * size, offset).reshape(blocks, size)
    found = rows[:, ENC_BLOCK.size - 4 : ENC_BLOCK.size].copy().view(np.int32)
    return base + float(found.mean())


def frame_numbers_of(pictures: NDArray[np.uint8]) -> dict[str, Value]:
    """Numbers of the rim and the corners of (K, H, W, 3) upright frames."""
    found: dict[str, Value] = {}
    for name, (below, right) in CORNERS.items():
        zone = _luma(_corner(pictures, below, right))
        found[f"{name} level"] = float(zone.mean())
        found[f"{name} edges that stay"] = _staying(zone)
    strips = [_luma(strip) for strip in _strips(pictures)]
    return {**found, **_grid(strips), "comb": _comb(strips)}


def _luma(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pictures.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _corner(pictures: NDArray[np.uint8], below: bool, right: bool) -> NDArray[np.uint8]:
    sides = pictures.shape[1:3]
    height, width = (max(2, round(share * side)) for share, side in zip(CORNER, sides, strict=True))
    rows = slice(-height, None) if below else slice(height)
    columns = slice(-width, None) if right else slice(width)
    return pictures[:, rows, columns]


def _staying(zone: NDArray[np.float32]) -> float:
    """Share of pixels on an edge that no frame moves: a logo over what moves, or a still camera."""
    mean = zone.mean(axis=0)
    steep = np.maximum(np.abs(np.diff(mean, axis=0))[:, :-1], np.abs(np.diff(mean, axis=1))[:-1, :])
    stays = zone.std(axis=0)[:-1, :-1] < STAYS
    return float(((steep > EDGE) & stays).mean())


def _strips(pictures: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The rim above, below, left and right, whole blocks from the frame's own grid."""
    height, width = pictures.shape[1:3]
    rim = int(RIM * min(height, width)) // BLOCK * BLOCK
    if not rim:
        return []
    low, far = (side // BLOCK * BLOCK for side in (height, width))
    return [
        pictures[:, :rim, :far],
        pictures[:, low - rim : low, :far],
        pictures[:, rim : low - rim, :rim],
        pictures[:, rim : low - rim, far - rim : far],
    ]


def _grid(strips: list[NDArray[np.float32]]) -> dict[str, Value]:
    """How much higher the steps on one of eight offsets are than on the median one, levels, and
    which offset that is, across and down.
    """
    if not strips:
        return {"frame blockiness": None, "grid": None}
    across, down = (_steps(strips, axis) for axis in (2, 1))
    blockiness = max(float(b.max() - np.median(b)) for b in (across, down))
    phase = f"{across.argmax()} {down.argmax()}" if blockiness > SURE else "none"
    return {"frame blockiness": blockiness, "grid": phase}


def _steps(strips: list[NDArray[np.float32]], axis: int) -> NDArray[np.float64]:
    """(8,) mean step onto pixels of each offset from the frame's grid."""
    total, count = np.zeros(BLOCK), np.zeros(BLOCK)
    for strip in strips:
        step = np.abs(np.diff(strip, axis=axis))
        for offset in range(BLOCK):
            # Step n goes from pixel n to n + 1.
            part = step.take(range((offset - 1) % BLOCK, step.shape[axis], BLOCK), axis=axis)
            total[offset] += float(part.sum())
            count[offset] += part.size
    return total / np.maximum(count, 1)


def _comb(strips: list[NDArray[np.float32]]) -> float | None:
    """How strongly the sizes of low DCT coefficients keep to multiples of a step: what an earlier
    JPEG or MPEG quantiser leaves in blocks of this grid (Popescu and Farid 2004).

    Between 0 and 1; None where the rim is too plain.
    """
    values = []
    for strip in strips:
        frames, height, width = strip.shape
        cut = strip.reshape(frames, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
        blocks = dctn(cut.swapaxes(2, 3) - 128, axes=(3, 4), norm="ortho")
        values.append(blocks.reshape(-1, BLOCK, BLOCK))
    if not values:
        return None
    blocks = np.concatenate(values)
    found = []
    for v, u in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        size = np.rint(np.abs(blocks[:, v, u])).astype(int)
        size = size[(size > 0) & (size < LEVELS)]
        if len(size) < 200:
            continue
        found.append(_teeth(np.bincount(size, minlength=LEVELS) / len(size)))
    return float(np.mean(found)) if found else None


def _teeth(share: NDArray[np.float64]) -> float:
    """Share of the sizes that lie within 1 of a multiple of some step, beyond what a histogram as
    smooth as this one over that step would have there; the most of all steps.
    """
    most = 0.0
    for step in range(4, LEVELS // 3 + 1):
        even = np.convolve(share, np.ones(step) / step, mode="same")
        near = (np.arange(LEVELS)[:, None] + [-1, 0, 1]) % step == 0
        teeth = near.any(axis=1) & (np.arange(LEVELS) >= step - 1)
        most = max(most, float((share - even)[teeth].sum()))
    return most
