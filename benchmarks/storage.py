"""Reading shuffled clips of real faces: the cache against zarr-python, PNG folders and an HDF5
export.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import zarr

from benchmarks import media
from benchmarks.rows import Row, Seconds, alternate
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.clips.hdf5 import open_export
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.errors import VideoError
from unmask.pipeline.extraction.crops import read_crops
from unmask.pipeline.machine.worker_pool import settle
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Crops, Entry

KEY = "bench-key"


def faces(scratch: Path) -> list[Crops]:
    """16 clips of 5 crops of every real video that shows a face, or of drawn ones."""
    real = media.real_folder()
    paths = (
        sorted(real.glob("*.mp4"))
        if real
        else [media.make(scratch, size, "4:2:0").path for size in media.SIZES]
    )
    found = []
    for path in paths:
        try:
            found.append(read_crops(path, ExtractConfig())[1][0])
        except VideoError:  # the one without a face
            continue
    return found


def write_caches(scratch: Path, people: list[Crops]) -> dict[str, list[CachedVideo]]:
    """The same crops with each codec, without bands: codec -> videos."""
    caches = {}
    for codec in ("zstd", "compact", "none"):
        parent = scratch / f"cache-{codec}" / "bench" / KEY
        shutil.rmtree(parent, ignore_errors=True)
        parent.mkdir(parents=True)
        names = [f"v{number:03}" for number in range(len(people))]
        for name, crops in zip(names, people, strict=True):
            attributes = {
                "dataset": "bench",
                "key": name,
                "video_id": name,
                "label": int(name[-1]) % 2,
            }
            write_video(parent, name, crops, None, None, attributes, codec)
        caches[codec] = [open_video(parent / name) for name in names]
        write_manifest(
            scratch / f"cache-{codec}" / "all.txt",
            [Entry(f"bench/{KEY}/{name}", int(name[-1]) % 2) for name in names],
        )
    return caches


def shuffled(videos: list[CachedVideo], rounds: int = 1) -> list[tuple[int, int]]:
    """Every (video, clip) in a random order, `rounds` times."""
    every = [(v, c) for v, video in enumerate(videos) for c in range(video.clips)]
    rng = np.random.default_rng(3)
    return [every[i] for _ in range(rounds) for i in rng.permutation(len(every))]


def rows(scratch: Path, full: bool) -> list[Row]:
    """Sizes, and clips per second of one thread from the page cache."""
    settle()
    people = faces(scratch)
    caches = write_caches(scratch, people)
    plan = shuffled(caches["zstd"])
    pngs = _write_pngs(scratch / "pngs", people)
    runs = {f"own {codec}": _own(videos, plan) for codec, videos in caches.items()}
    runs |= {f"zarr {codec}": _zarr(videos, plan) for codec, videos in caches.items()}
    runs["png"] = _png(pngs, plan, people)
    exported = _exported(scratch)
    runs |= {f"hdf5 {name}": _hdf5(path, plan) for name, path in exported.items()}
    for run in runs.values():
        run()
    seconds = alternate(runs, 9 if full else 5)
    rate = {name: len(plan) / each.wall for name, each in seconds.items()}
    found = [*_speeds(seconds, rate, len(plan)), *_sizes(caches, pngs, people)]
    for name, path in exported.items():
        raw = sum(crops.pixels.nbytes for crops in people)
        note = f"{rate[f'hdf5 {name}']:,.0f} clips/s, {path.stat().st_size / raw:.2f} of raw"
        codec = "zstd" if name == "gzip" else "none"
        ratio = rate[f"hdf5 {name}"] / rate[f"own {codec}"]
        found.append(Row(f"exported HDF5, {name}", f"cache, {codec}", ratio, 0, note))
    return found


def _speeds(seconds: dict[str, Seconds], rate: dict[str, float], clips: int) -> list[Row]:
    found = []
    for codec, target in (("zstd", 2.0), ("compact", 2.0), ("none", 10.0)):
        note = (
            f"{rate[f'own {codec}']:,.0f} against {rate[f'zarr {codec}']:,.0f} clips/s, "
            f"{clips} clips"
        )
        ratio = seconds[f"zarr {codec}"].wall / seconds[f"own {codec}"].wall
        name = f"{codec} (default)" if codec == "zstd" else codec
        found.append(Row(f"shuffled clips, {name}", "zarr-python", ratio, target, note))
    for codec, target in (("zstd", 8.0), ("compact", 4.0)):
        note = f"{rate[f'own {codec}']:,.0f} against {rate['png']:,.0f} clips/s"
        ratio = seconds["png"].wall / seconds[f"own {codec}"].wall
        found.append(Row(f"shuffled clips, {codec}", "PNG folders, OpenCV", ratio, target, note))
    return found


def _sizes(
    caches: dict[str, list[CachedVideo]], pngs: list[list[Path]], people: list[Crops]
) -> list[Row]:
    raw = sum(crops.pixels.nbytes for crops in people)
    png = sum(path.stat().st_size for paths in pngs for path in paths) / raw
    found = []
    for codec, target in (("zstd", 0.0), ("compact", 0.30)):
        size = (
            sum((video.folder / "crops" / "c.0.0.0.0.0").stat().st_size for video in caches[codec])
            / raw
        )
        note = f"{len(people)} videos, {raw / 1e6:.0f} MB raw; PNG folders {png:.2f} of raw"
        found.append(Row(f"cache size, {codec}", "raw crops", size, target, note, most=True))
    return found


def _own(videos: list[CachedVideo], plan: list[tuple[int, int]]) -> Callable[[], object]:
    room = videos[0].empty(1)

    def run() -> None:
        for video, clip in plan:
            videos[video].read_clip(clip, room[0])

    return run


def _zarr(videos: list[CachedVideo], plan: list[tuple[int, int]]) -> Callable[[], object]:
    arrays = [zarr.open_group(video.folder, mode="r")["crops"] for video in videos]
    return lambda: [arrays[video][clip] for video, clip in plan]


def _write_pngs(folder: Path, people: list[Crops]) -> list[list[Path]]:
    found = []
    for number, crops in enumerate(people):
        place = folder / f"v{number:03}"
        place.mkdir(parents=True, exist_ok=True)
        flat = crops.pixels.reshape(-1, *crops.pixels.shape[2:])
        paths = [place / f"{k:04}.png" for k in range(len(flat))]
        for path, picture in zip(paths, flat, strict=True):
            cv2.imwrite(str(path), picture[..., ::-1])
        found.append(paths)
    return found


def _png(
    pngs: list[list[Path]], plan: list[tuple[int, int]], people: list[Crops]
) -> Callable[[], object]:
    length = people[0].pixels.shape[1]

    def run() -> None:
        for video, clip in plan:
            np.stack(
                [cv2.imread(str(path)) for path in pngs[video][clip * length : (clip + 1) * length]]
            )

    return run


def _exported(scratch: Path) -> dict[str, Path]:
    root = scratch / "cache-zstd"
    manifest = read_manifest(root / "all.txt", root)
    paths = {kind: scratch / f"export-{kind}.h5" for kind in ("gzip", "none")}
    for kind, path in paths.items():
        write_export(path, manifest, compression=kind)
    return paths


def _hdf5(path: Path, plan: list[tuple[int, int]]) -> Callable[[], object]:
    videos = open_export(path).videos
    room = videos[0].empty(1)

    def run() -> None:
        for video, clip in plan:
            videos[video].read_clip(clip, room[0])

    return run
