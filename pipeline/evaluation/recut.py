"""Cached clips cut again from the videos they came from, with something done to the frames before.

A clip that is cut again from untouched frames must equal the cached one bit for bit; only videos
for which that holds can say what a change costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.index import read_index
from unmask.pipeline.cache.video import CachedVideo
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.containers import AV_ERRORS
from unmask.pipeline.decode.frames import ArrayFrames
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.windows import count_from, find_windows
from unmask.pipeline.errors import CacheError, VideoError
from unmask.pipeline.evaluation.wear import Stretch, Wear
from unmask.pipeline.faces.crop import crop_frames
from unmask.pipeline.records import VideoInfo

# What a player assumes where a file names no frame rate.
USUAL_RATE = 25.0


class WornError(Exception):
    """A file could be cut again, and failed when something was done to it."""


class NotAgainError(Exception):
    """A cached video cannot be cut again; the text says why."""


@dataclass(frozen=True)
class Origin:
    """Where one cached video was cut.

    path: of the file. first: as Video.first_frame. index: (N, T). box: (N, 4) px. transform: (N, 2,
    3), frame px -> crop px. side: of the crops, px.
    """

    path: Path
    first: int
    index: NDArray[np.int64]
    box: NDArray[np.float32]
    transform: NDArray[np.float32]
    side: int

    def stretch(self, clip: int, before: int, after: int) -> Stretch:
        """A clip's frames and those around it, as far as there are any. Raises VideoError."""

        def read(scanned: VideoInfo) -> Stretch:
            info = count_from(scanned, self.first)
            windows, there = find_windows(info, self.index[clip : clip + 1])
            if not there.all():
                raise VideoError("changed_while_reading", f"clip {clip} is not in it any more")
            (window,) = windows
            start = max(0, int(window[0]) - before)
            stop = min(info.frames, int(window[-1]) + 1 + after)
            (frames,) = decode_clips(self.path, info, np.arange(start, stop)[None])
            rate = info.fps if info.fps > 0 else USUAL_RATE
            place = int(window[0]) - start, len(window), start
            return Stretch(np.asarray(frames.pixels), *place, rate, self.box[clip])

        return with_fallback(self.path, Limits(), read)

    def cut(self, clip: int, frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """(T, H', W', 3) -> (T, S, S, 3) at the place of a clip; size: (H, W) that its transform is
        for.
        """
        transform = self.transform[clip].astype(np.float64)
        if frames.shape[1:3] != size:
            # Whole numbers are the middles of pixels.
            scale = np.array(frames.shape[2:0:-1]) / np.array(size[::-1])
            turn = transform[:, :2] / scale
            move = transform[:, 2] + turn @ (0.5 - 0.5 * scale)
            transform = np.column_stack([turn, move])
        # As extraction cuts: of the part under the crop, whose corner takes part in the rounding.
        number = np.arange(len(frames))
        return crop_frames(ArrayFrames(frames, number, number / USUAL_RATE), transform, self.side)


# Cache folder -> key -> file and number of its first frame.
Known = dict[Path, dict[str, tuple[Path, int]]]


def origin_of(reader: object, known: Known) -> Origin:
    """known: index rows read so far. Raises NotAgainError for what is no cached video with a known
    file.
    """
    if not isinstance(reader, CachedVideo):
        raise NotAgainError("no cached video, so there is no file to open")
    try:
        parent = reader.folder.parent
        if parent not in known:
            videos = read_index(parent).videos
            known[parent] = {video.key: (video.path, video.first_frame) for video in videos}
        path, first = known[parent][reader.key]
        index, box = reader.frame_numbers, reader.boxes
        transform = reader.transforms
    except KeyError:
        raise NotAgainError("the index of its cache does not know it") from None
    except CacheError as error:
        raise NotAgainError(str(error)[:200]) from error
    if not path.exists():
        raise NotAgainError("the file is not there any more")
    return Origin(path, first, index, box, transform, reader.shape[2])


@dataclass(frozen=True)
class Again:
    """Which videos can be cut again. origins: by position in the source. reasons: of the others."""

    source: ClipSource
    origins: dict[int, Origin]
    reasons: dict[int, str]

    def change(
        self, wear: Wear, level: int
    ) -> Callable[[NDArray[np.uint8], Sample, np.random.Generator], NDArray[np.uint8]]:
        """What Scoring.score puts in the place of the cached pixels at a level from 1.

        It raises WornError when a file has gone since, or an encoder fails on it.
        """
        _, parameter = wear.levels[level - 1]

        def worn(
            clip: NDArray[np.uint8], sample: Sample, rng: np.random.Generator
        ) -> NDArray[np.uint8]:
            origin = self.origins[sample.video]
            cut = {}
            for number in sample.clips:
                around = wear.around(origin.index.shape[1])
                try:
                    stretch = origin.stretch(number, *around)
                    frames = wear.apply(stretch, parameter, rng)
                except (VideoError, OSError, RuntimeError, *AV_ERRORS) as error:
                    raise WornError(f"{origin.path.name}: {error}"[:200]) from error
                cut[number] = origin.cut(number, frames, stretch.frames.shape[1:3])
            return np.stack([cut[number][frame] for number, frame in sample.picks])

        return worn


def cut_again(
    source: ClipSource,
    videos: Sequence[int],
    samples: Sequence[Sample],
    around: Callable[[int], tuple[int, int]] = lambda count: (0, 0),
    progress: Callable[[int], None] = lambda done: None,
) -> Again:
    """Cut the clips of these samples from untouched files and compare them with the cached ones.

    around: the most frames that a row will want, read here once, so that a file that cannot give
        them is found before anything is scored.
    progress: is told the videos done.
    """
    wanted: dict[int, set[int]] = {video: set() for video in videos}
    for sample in samples:
        if sample.video in wanted:
            wanted[sample.video] |= {clip for clip, _ in sample.picks}
    origins, reasons = {}, {}
    known: Known = {}
    for done, video in enumerate(videos, 1):
        reader = source.readers[video]
        try:
            origin = origin_of(reader, known)
            for number in sorted(wanted[video]):
                stretch = origin.stretch(number, *around(origin.index.shape[1]))
                mine = origin.cut(number, stretch.clip, stretch.frames.shape[1:3])
                if not np.array_equal(mine, reader.read_crops([number])[0]):
                    raise NotAgainError("the file gives other pixels than are cached")
            origins[video] = origin
        except NotAgainError as error:
            reasons[video] = str(error)
        except VideoError as error:
            reasons[video] = error.reason
        progress(done)
    return Again(source, origins, reasons)
