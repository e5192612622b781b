"""The records that travel along the road; no I/O here. Axes: N clips, T frames, S crop side, H
height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

REAL, FAKE = 0, 1

SPLITS = ("train", "val", "test")

# Name of every dataset whose people are drawn: no verdict on real people may rest on it.
DRAWN = "drawn"

# Why a video is not in the cache. A closed list: scripts count these words.
REASONS: dict[str, str] = {
    "not_a_video": "the bytes are not a video of an accepted container",
    "not_a_file": "not a regular file (folder, FIFO, device)",
    "permission": "the file cannot be read",
    "missing": "an official list names the file, the disk does not have it",
    "no_video_stream": "the container holds no video (audio only, subtitles, a picture)",
    "unsupported_codec": "no decoder for this video in the installed FFmpeg libraries",
    "unsupported_rotation": "the display matrix asks for a flip or an angle that is not a "
    "multiple of 90 degrees",
    "too_large": "more pixels, frames or bytes than the limits allow",
    "too_small": "smaller than a detectable face",
    "too_short": "fewer frames than one clip",
    "truncated": "the file ends before enough frames",
    "corrupt": "too many damaged packets",
    "mixed_sizes": "pictures of different sizes, which make no video",
    "changed_while_reading": "the file changed during extraction",
    "no_face": "the detector finds no face that fills one clip",
    "timeout": "the video took longer than the watchdog allows",
    "out_of_memory": "the memory limit was reached",
    "decoder_crash": "the worker process died while reading this video",
    "damaged_crops": "the crops in the cache cannot be read; `verify --repair` makes them again",
    "not_finite": "the encoder answers with numbers that float16 does not hold",
    "internal_error": "a fault of unmask; the detail names it",
}

# Worth another try on the next run; every other reason stays true until the file or the settings
# change.
TRANSIENT_REASONS = frozenset(
    {
        "permission",
        "missing",
        "changed_while_reading",
        "timeout",
        "out_of_memory",
        "decoder_crash",
        "internal_error",
    }
)


@dataclass(frozen=True)
class Video:
    """One video of a dataset as its adapter found it.

    key: unique in its dataset as its owners name it, e.g. `Deepfakes/c23/000_003`.
    video_id: the same as a safe slug [A-Za-z0-9._-], unique in its dataset; the cache folder's
        name.
    path: absolute; a file, or a folder of pictures.
    label: 0 real, 1 fake.
    target: identity whose body and pose is seen; source: identity put in (None for reals).
    pair: key of the real video a fake was made from; pair_id: its video_id, filled in by extract.
    group: leakage group, never split.
    split: train, val, test or none; split_origin: official, derived or all-test.
    mask: absolute path of the mask video or folder.
    fake_spans: (start, end) in seconds.
    fake_frames: the same as (first, one past the last) frame numbers, where the owners count
        frames.
    first_frame: what the owners call the first frame, of pictures named by their numbers.
    """

    dataset: str
    key: str
    video_id: str
    path: Path
    label: int
    method: str = "real"
    compression: str = "none"
    split: str = "none"
    split_origin: str = "derived"
    target: str | None = None
    source: str | None = None
    pair: str | None = None
    group: str = ""
    mask: Path | None = None
    video_fake: bool | None = None
    audio_fake: bool | None = None
    fake_spans: tuple[tuple[float, float], ...] = ()
    fake_frames: tuple[tuple[int, int], ...] = ()
    pair_id: str | None = None
    first_frame: int = 0


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself, checked against its packets.

    width, height: of the upright picture in square pixels, px.
    frames: exact number of frames that can be shown.
    pts: (frames,) float64, seconds, increasing.
    rotation: degrees already undone in decoded Frames.
    method: planned or sequential (how decode_clips will read it); guard: why not planned, or "".
    flags: of incomplete, interlaced, vfr, damaged, gaps (steps of steady times are empty),
        times_from_rate (the file's own times are unusable), anamorphic, mixed_sizes, high_range:
        what was scaled to square pixels, scaled to one size, tone-mapped to BT.709.
    packets: scan's note for decode_clips, one row per packet of a planned video.
    numbers: (frames,) increasing frame numbers in the original video, of pictures whose names say
        them and of frames behind lost ones; else None, then a frame's number is its position.
    promised: frames that the file says or shows it should hold; 0 where nobody counted.
    missing: for a person, how many of the promised frames are missing and why, "" for none.
    stored: (width, height) of most pictures as the file stores them, px; (0, 0) for pictures.
    largest: pixels of its largest stored picture.
    aspect: width over height of a stored pixel.
    matrix, transfer, primaries: of the stored colours, "" where the file is silent.
    full_range: whether stored colours use all code values.
    """

    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    fps: float
    frames: int
    pts: NDArray[np.float64]
    method: Literal["planned", "sequential"]
    guard: str = ""
    flags: tuple[str, ...] = ()
    packets: NDArray[np.void] | None = field(default=None, compare=False, repr=False)
    numbers: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    promised: int = 0
    missing: str = ""
    stored: tuple[int, int] = (0, 0)
    largest: int = 0
    aspect: float = 1.0
    matrix: str = ""
    transfer: str = ""
    primaries: str = ""
    full_range: bool = False


class View(Protocol):
    """A picture that is converted when somebody looks at it. height, width: px of the whole."""

    height: int
    width: int

    def pixels(self) -> NDArray[np.uint8]:
        """All of it, (H, W, 3) uint8 RGB."""
        ...

    def half(self) -> NDArray[np.uint8]:
        """(H // 2, W // 2, 3), each pixel the mean of 2 x 2."""
        ...


class Frames(Protocol):
    """Consecutive frames of one video, upright and in display order, in memory or still to be
    converted (decode/frames.py).
    """

    @property
    def index(self) -> NDArray[np.int64]:
        """(T,) frame number in the file."""
        ...

    @property
    def pts(self) -> NDArray[np.float64]:
        """(T,) seconds."""
        ...

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """All frames, (T, H, W, 3) RGB."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        ...

    def __len__(self) -> int:
        """T."""
        ...

    def picture(self, number: int) -> NDArray[np.uint8]:
        """One frame, (H, W, 3)."""
        ...

    def view(self, number: int) -> NDArray[np.uint8] | View:
        """The same for the detector, which may want a smaller picture only."""
        ...

    def part(
        self, left: int, top: int, right: int, bottom: int
    ) -> Sequence[NDArray[np.uint8]] | NDArray[np.uint8]:
        """[top:bottom, left:right] of every frame."""
        ...

    def sparse(self, step: int) -> Sequence[NDArray[np.uint8]] | NDArray[np.uint8]:
        """Every step-th pixel of every step-th row of every frame, for comparisons."""
        ...


@dataclass(frozen=True)
class Detections:
    """The faces of one picture, largest first, in pixels of that picture.

    box: (F, 4) float32 x1,y1,x2,y2 (may leave the picture).
    landmark: (F, 5, 2) float32.
    prob: (F,) float32.
    """

    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    prob: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.box)


@dataclass(frozen=True)
class Crops:
    """One person's aligned face in the clips of one video: what the cache stores.

    pixels: (N, T, S, S, 3) uint8 RGB.
    index: (N, T) int64 frame numbers.
    pts: (N, T) float64 seconds.
    box: (N, 4) float32 and landmark: (N, 5, 2) float32, of the clip's anchor frame, px of the
        upright frame.
    prob: (N,) float32, detector score.
    transform: (N, 2, 3) float32, upright frame px -> crop px.
    window: (N,) int64, which of the planned clips each one is.
    dropped: (window, why) of the others.
    faces: most faces seen on one anchor.
    persons: how many persons were followed through several clips, cut or not.
    track: 0 the main person, 1.. the others.
    """

    pixels: NDArray[np.uint8]
    index: NDArray[np.int64]
    pts: NDArray[np.float64]
    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    prob: NDArray[np.float32]
    transform: NDArray[np.float32]
    window: NDArray[np.int64]
    dropped: tuple[tuple[int, str], ...] = ()
    faces: int = 1
    persons: int = 1
    track: int = 0


@dataclass(frozen=True)
class Outcome:
    """How one video ended: ok, skipped (nothing wrong with the file, nothing to keep) or failed.

    reason: "" when ok, else a key of REASONS.
    clips, frames_read: kept clips, and the different frames in them.
    flags: what a reader should know of an ok video, e.g. incomplete, sequential, fewer_clips,
        overlapping_clips (a short video: clips share frames).
    """

    video_id: str
    status: Literal["ok", "skipped", "failed"]
    reason: str = ""
    detail: str = ""
    flags: tuple[str, ...] = ()
    clips: int = 0
    frames_read: int = 0
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: a folder relative to the cache root (or to the manifest, for picture
    folders).
    """

    folder: str
    label: int
    line: int = 0
