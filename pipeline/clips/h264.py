"""A clip through a real H.264 encoder and back, in memory: the damage that sharing a video does to
a face.

Real libx264 and not an imitation, because detectors learn exactly the traces that imitations get
wrong. It runs on the CPU, one thread, deterministic; 4:2:0 like every shared video. Used in
training and in robustness evaluation.
"""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.errors import UsageError

ROW = 128


def h264(clip: NDArray[np.uint8], crf: int) -> NDArray[np.uint8]:
    """(T,H,W,3) uint8 RGB -> the same shape after encoding at constant rate factor `crf` (0 best,
    51 worst).

    For the encoder the border pixels go on to a multiple of 128 px, which is cut off again. Raises
    UsageError for crf outside 0..51.
    """
    if not 0 <= crf <= 51:
        raise UsageError(f"crf {crf} is outside 0..51")
    _, height, width, _ = clip.shape
    # Whole rows of memory in luma and chroma: with bytes left over at a row end the encoder now and
    # then gave another bit stream for equal pixels (seen in 2 of 500 runs at 240 px, never with
    # full rows).
    padded = np.pad(clip, ((0, 0), (0, -height % ROW), (0, -width % ROW), (0, 0)), mode="edge")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *padded.shape[1:3], "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for picture in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r", format="mp4") as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(shown)[:, :height, :width]
