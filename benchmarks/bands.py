"""The stored DCT coefficients against nine whole planes made by plain scipy: time and bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.fft import dctn, idctn

from benchmarks.rows import Row, alternate
from benchmarks.storage import faces
from unmask.pipeline.cache.bands import coefficients, cuts
from unmask.pipeline.machine.worker_pool import settle


def plain(clip: np.ndarray) -> np.ndarray:
    """(T, S, S, 3) uint8 -> (T, 9, S, S) float16: low, mid and high of each colour, in float64
    until stored.
    """
    size = clip.shape[1]
    low, mid = cuts(size)
    place = np.add.outer(np.arange(size), np.arange(size))
    masks = place < low, (place >= low) & (place < mid), place >= mid
    planes = []
    for frame in clip:
        spectrum = dctn(frame.astype(np.float64) / 255, axes=(0, 1), norm="ortho")
        planes.append(
            [idctn(spectrum * mask[..., None], axes=(0, 1), norm="ortho") for mask in masks]
        )
    return (
        np.asarray(planes)
        .transpose(0, 1, 4, 2, 3)
        .reshape(len(clip), 9, size, size)
        .astype(np.float16)
    )


def rows(scratch: Path, full: bool) -> list[Row]:
    """On clips of real faces."""
    settle()
    clips = [crops.pixels[0] for crops in faces(scratch)]
    kept: dict[str, int] = {}

    def ours() -> None:
        kept["ours"] = sum(coefficients(clip).nbytes for clip in clips)

    def other() -> None:
        kept["other"] = sum(plain(clip).nbytes for clip in clips)

    seconds = alternate({"ours": ours, "other": other}, 9 if full else 5)
    frames = sum(map(len, clips))
    each = {name: 1000 * value.wall / frames for name, value in seconds.items()}
    return [
        Row(
            "DCT bands, time",
            "plain scipy float64, nine planes",
            each["other"] / each["ours"],
            2.0,
            f"{each['ours']:.2f} against {each['other']:.2f} ms a frame",
        ),
        Row(
            "DCT bands, bytes",
            "nine float16 planes",
            kept["ours"] / kept["other"],
            1 / 8,
            f"{kept['ours'] / frames / 1024:.0f} KiB a frame before zstd",
            most=True,
        ),
    ]
