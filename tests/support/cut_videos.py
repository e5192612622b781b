"""A cache cut from drawn video files at boxes that are told, without a detector: for tests of what
opens the files again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.support.drawn_videos import Recipe, draw_picture, write_video
from unmask.pipeline.cache import writing
from unmask.pipeline.cache.index import write_index
from unmask.pipeline.config import CropConfig, Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import plan_clips
from unmask.pipeline.faces.find import find_crops
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL, Entry, Video

KEY = "cut-key"
SIZE, FRAMES = (176, 144), 40
CROP = CropConfig(clips=4, frames=3, size=64)
BOX = np.array([50.3, 40.6, 110.2, 112.7], np.float32)
LANDMARK = np.array([(66, 62), (95, 64), (80, 78), (68, 92), (92, 94)], np.float32)


def cut_cache(root: Path, splits: dict[str, int]) -> Path:
    """videos/, cache/ and manifests/ of as many pairs per split as told; returns the manifests."""
    import av

    number, parent = 0, root / "cache" / "drawn" / KEY
    parent.mkdir(parents=True)
    (root / "videos").mkdir()
    settings = CROP.settings("reference")
    videos = []
    for split, pairs in splits.items():
        entries = []
        for pair in range(2 * pairs):
            label = (REAL, FAKE)[pair % 2]
            name = f"{'rf'[label]}{number:02}"
            path = root / "videos" / f"{name}.mp4"
            pictures = [draw_picture(7 * number + n, *SIZE) for n in range(FRAMES)]
            frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
            write_video(path, Recipe(frames=FRAMES, size=SIZE), frames)
            method = "swap" if label == FAKE else "real"
            video = Video("drawn", name, name, path, label, method, split=split, group=name)
            _commit(parent, video, settings)
            videos.append(video)
            entries.append(Entry(f"drawn/{KEY}/{name}", label))
            number += 1
        write_manifest(root / "manifests" / f"{split}.txt", entries)
    write_index(parent, videos, settings)
    return root / "manifests"


def _commit(parent: Path, video: Video, settings: dict[str, object]) -> None:
    info = scan(video.path, Limits())
    windows = plan_clips(info, CROP.clips, CROP.frames)
    places = [(BOX, LANDMARK)] * len(windows)
    (crops,) = find_crops(decode_clips(video.path, info, windows), None, CROP, places)
    facts = {name: value for name, value in asdict(video).items() if name not in ("path", "mask")}
    attributes = {**facts, "settings": settings}
    writing.write_video(parent, video.video_id, crops, None, None, attributes, "zstd")
