"""Which cached frames of a partly fake video are fake, from the spans its owners publish.

LAV-DF and AV-Deepfake1M give seconds, ForgeryNet frame numbers; both lie in the cached attributes
beside the index and the time of every frame. Where a dataset has no spans the label of the video is
the label of all its frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.clips.samples import Picks
from unmask.pipeline.records import FAKE, REAL


def frame_labels(attributes: Mapping[str, object], label: int) -> NDArray[np.int64] | None:
    """(N, T) label of every cached frame, or None where the video's label holds for all of them.

    attributes: of a cached video.
    label: of the video; spans of one that counts as real say nothing.
    A frame is fake when the middle of the time it is shown lies in a span (start, end), seconds
    from the first frame of the video, or its number in (first, one past the last); ours, so that a
    span's border in the middle between two frames, or rounded in a list, moves no frame.
    """
    seconds, numbers = attributes.get("fake_spans") or (), attributes.get("fake_frames") or ()
    if label != FAKE or not (seconds or numbers):
        return None
    index = np.asarray(attributes["index"], np.int64)  # (N, T)
    fake = _inside(index, numbers)
    if seconds:
        media = attributes.get("media")
        facts = media if isinstance(media, Mapping) else {}
        rate = float(facts.get("fps") or 0)
        middle = np.asarray(attributes["pts"], np.float64) - float(facts.get("start") or 0)
        fake |= _inside(middle + (0.5 / rate if rate > 0 else 0.0), seconds)
    return np.where(fake, FAKE, REAL)


def _inside(values: NDArray, spans: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """Which values lie in a half-open span."""
    found = np.zeros(values.shape, bool)
    for first, end in spans:
        found |= (values >= first) & (values < end)
    return found


def clip_label(truth: NDArray[np.int64] | None, label: int, picks: Picks) -> int:
    """Label of one sample: fake when one of its frames is, the video's where there are no spans.

    truth: frame_labels of the video.
    picks: (clip, frame) of the sample.
    """
    return label if truth is None else int(max(truth[clip, frame] for clip, frame in picks))
