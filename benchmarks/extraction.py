"""One worker, from a video file to its committed folder, against decoding that file and against
the usual way.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks import media
from benchmarks.rows import Row, Seconds, alternate
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.decode.windows import spread_clips
from unmask.pipeline.extraction.one_video import extract_video
from unmask.pipeline.machine.worker_pool import settle
from unmask.pipeline.records import Outcome, Video

# By long side of the video: at least so many times the speed of decoding, and of the usual way.
TARGETS = {"1080p": (1.1, 15.0), "720p": (0.9, 12.0)}


def decode_all(path: Path) -> int:
    """Plain sequential decode with one thread, no pixel touched."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def extract(path: Path, parent: Path, config: ExtractConfig) -> Outcome:
    """The task of a worker, into an empty cache below `parent`, which stays: to delete is no part
    of it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    outcome = extract_video(
        Video("bench", "v", "v", path, 0), config, Path(tempfile.mkdtemp(dir=parent))
    )
    if outcome.status != "ok":
        raise RuntimeError(f"{path.name}: {outcome.reason} {outcome.detail}")
    return outcome


class UsualWay:
    """OpenCV decodes everything, facenet-pytorch looks at 80 whole frames, the largest face
    becomes a PNG.
    """

    def __init__(self) -> None:
        from facenet_pytorch import MTCNN

        self.mtcnn = MTCNN(keep_all=True)

    def __call__(self, path: Path, folder: Path) -> int:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(spread_clips(frames, 16, 5).ravel().tolist())
        written = 0
        for number in range(frames):
            found, picture = capture.read()
            if not found:
                break
            if number in wanted:
                written += self._keep(
                    cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), folder / f"{number:06}.png"
                )
        capture.release()
        return written

    def _keep(self, picture: np.ndarray, path: Path) -> bool:
        boxes, _ = self.mtcnn.detect(picture)
        if boxes is None:
            return False
        boxes = np.asarray(boxes, np.float64)
        x1, y1, x2, y2 = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
        half, x, y = 0.65 * max(x2 - x1, y2 - y1), (x1 + x2) / 2, (y1 + y2) / 2
        left, top = max(0, int(x - half)), max(0, int(y - half))
        face = cv2.resize(
            picture[top : int(y + half), left : int(x + half)],
            (240, 240),
            interpolation=cv2.INTER_AREA,
        )
        return cv2.imwrite(str(path), face[..., ::-1])


def rows(scratch: Path, full: bool) -> list[Row]:
    """Talking head in every size and format; the crowd in the full form."""
    settle()
    usual, found = UsualWay(), []
    for size in media.SIZES:
        for chroma in media.FORMATS:
            clip = media.make(scratch, size, chroma)
            found += _measure(
                clip, size, scratch, full, usual if full or chroma == "4:2:0" else None
            )
        if full and media.real_folder():
            clip = media.make(scratch, size, "4:2:0", source=media.CROWD)
            found += [row._replace(target=0) for row in _measure(clip, size, scratch, full, usual)]
    return found


def _measure(
    clip: media.Clip, size: str, scratch: Path, full: bool, usual: UsualWay | None
) -> list[Row]:
    with_bands, without = ExtractConfig(), ExtractConfig(crop=CropConfig(bands=False))
    parent = scratch / "extracted"
    runs: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_all(clip.path),
        "extract": lambda: extract(clip.path, parent, with_bands),
        "bare": lambda: extract(clip.path, parent, without),
    }
    if not full:
        del runs["bare"]
    runs["extract"]()  # the detector is built once in a worker's life
    seconds = alternate(runs, 7 if full else 5)
    shutil.rmtree(parent)
    near, far = TARGETS[size]
    found = [
        _row(
            clip,
            f"extract {clip.name}",
            "sequential decode",
            seconds["decode"],
            seconds["extract"],
            near,
        )
    ]
    if full:
        bare = seconds["bare"]
        found.append(
            _row(clip, f"extract {clip.name}, no bands", "the same", seconds["decode"], bare, near)
        )
    if usual:
        pngs = scratch / "usual"
        slow = alternate({"usual": lambda: usual(clip.path, pngs)}, 1)["usual"]
        found.append(
            _row(clip, f"extract {clip.name}", "the usual way", slow, seconds["extract"], far)
        )
    return found


def _row(
    clip: media.Clip, what: str, against: str, other: Seconds, ours: Seconds, target: float
) -> Row:
    note = (
        f"{clip.about}: {ours.wall:.2f} s against {other.wall:.2f} s; CPU alone "
        f"{other.cpu / ours.cpu:.2f}x"
    )
    return Row(what, against, other.wall / ours.wall, target, note)
