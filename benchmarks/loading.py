"""Batches ready for the device: the loader's threads against np.memmap, and against what the
smallest model eats.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.rows import Row, alternate
from benchmarks.storage import KEY, faces, shuffled, write_caches
from unmask.models import create_model, list_models
from unmask.models.cost import measure_cost
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.bands import coefficients
from unmask.pipeline.cache.video import CachedVideo
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.clips.batches import RawBatch, batches
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.clips.stored_bands import BandsFrom
from unmask.pipeline.machine.worker_pool import settle
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Crops, Entry

BATCH, THREADS = 32, 2


def rows(scratch: Path, full: bool) -> list[Row]:
    """uint8 batches of 32 shuffled clips, buffers used again, from the page cache."""
    settle()
    people = faces(scratch)
    caches = write_caches(scratch, people)
    plan = shuffled(caches["none"], 48)
    plan = plan[: len(plan) // BATCH * BATCH]
    every = _memmap(scratch / "raw.u8", caches["none"])
    runs = {
        codec: _loader(scratch / f"cache-{codec}", plan, caches["none"][0].shape)
        for codec in caches
    }
    runs["memmap"] = _memmap_batches(every, plan, caches["none"])
    for run in runs.values():
        run()
    seconds = alternate(runs, 7 if full else 5)
    rate = {name: len(plan) / value.wall for name, value in seconds.items()}
    against = "np.memmap batches"
    found = [
        Row(
            f"batches, {codec}",
            against,
            rate[codec] / rate["memmap"],
            0.8 if codec == "none" else 0,
            f"{rate[codec]:,.0f} against {rate['memmap']:,.0f} clips/s, {THREADS} threads "
            "against 1",
        )
        for codec in ("none", "zstd", "compact")
    ]
    return [*found, *bands_rows(scratch, people, full), _consumption(rate["zstd"])]


# What a model wants of one frame: images of all three bands, or the stored coefficients alone.
WANTED = {
    "images of bands": ClipSpec("single", 1, 224, bands="area"),
    "coefficients alone": ClipSpec("single", 1, 240, fit="resize", bands="area", coefficients=True),
}


def bands_rows(scratch: Path, people: list[Crops], full: bool) -> list[Row]:
    """Frames with bands ready for the network, on the CPU: read from the cache against computed of
    the pixels.
    """
    parent = scratch / "cache-bands" / "bench" / KEY
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True)
    entries = []
    for number, crops in enumerate(people):
        name = f"v{number:03}"
        facts = {"dataset": "bench", "key": name, "video_id": name, "label": number % 2}
        write_video(parent, name, crops, coefficients(crops.pixels), None, facts, "zstd")
        entries.append(Entry(f"bench/{KEY}/{name}", number % 2))
    write_manifest(scratch / "cache-bands" / "all.txt", entries)
    found = []
    for what, spec in WANTED.items():
        runs = {way: _with_bands(scratch / "cache-bands", spec, way) for way in _WAYS}
        for run in runs.values():
            run()
        seconds = alternate(runs, 7 if full else 3)
        frames = sum(len(crops.pixels) for crops in people)  # one of each clip
        rate = {way: frames / value.wall for way, value in seconds.items()}
        found.append(
            Row(
                f"bands, {what}",
                "computed on this CPU",
                rate["cached"] / rate["computed"],
                0,
                f"{rate['cached']:,.0f} read against {rate['computed']:,.0f} computed frames/s",
            )
        )
    return found


_WAYS: tuple[BandsFrom, ...] = ("cached", "computed")


def _with_bands(root: Path, spec: ClipSpec, way: BandsFrom) -> Callable[[], None]:
    source = ClipSource(root / "all.txt", root, spec, bands=way)
    samples = source.evaluation_samples()
    plan = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]

    def run() -> None:
        for raw in batches(source, plan, threads=THREADS):
            prepare(raw, spec, "cpu")

    return run


def _memmap(path: Path, videos: list[CachedVideo]) -> np.ndarray:
    with open(path, "wb") as file:
        for video in videos:
            file.write(np.ascontiguousarray(video.read_crops(range(video.clips))).tobytes())
    return np.memmap(path, np.uint8, "r").reshape(-1, *videos[0].shape[1:])


def _memmap_batches(every: np.ndarray, plan: list[tuple[int, int]], videos: list[CachedVideo]):
    first = np.cumsum([0, *(video.clips for video in videos)])
    index = np.array([first[v] + c for v, c in plan]).reshape(-1, BATCH)
    room = np.empty((BATCH, *every.shape[1:]), np.uint8)

    def run() -> None:
        for batch in index:
            np.take(every, batch, axis=0, out=room, mode="clip")

    return run


def _loader(root: Path, plan: list[tuple[int, int]], shape: tuple[int, ...]):
    frames, side = shape[1:3]
    source = ClipSource(root / "all.txt", root, ClipSpec("consecutive", frames, side))
    samples = [Sample(video, tuple((clip, t) for t in range(frames))) for video, clip in plan]
    plan = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]

    def run() -> None:
        for _ in batches(source, plan, threads=THREADS):
            pass

    return run


def _consumption(clips: float) -> Row:
    """Against a training step of the model with the fewest operations, all cores of this
    machine.
    """
    name = min(list_models(), key=lambda name: measure_cost(name).total.macs)
    model = create_model(name)
    spec = model.spec
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    pixels = torch.randint(0, 256, (2, spec.frames, 240, 240, 3), dtype=torch.uint8)
    raw = RawBatch([Sample(k, ((0, 0),), k) for k in range(2)], pixels, None, torch.arange(2))

    def step() -> None:
        ready = prepare(raw, spec, "cpu")
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(ready.pixels, ready.bands), ready.label).backward()

    step()
    each = 2 / alternate({"step": step}, 3)["step"].wall
    torch.set_num_threads(threads)
    # A sample of T frames needs T / 5 clips of the cache.
    ratio = clips * 5 / spec.frames / each
    note = (
        f"{clips:,.0f} clips/s of 5 frames; {name} trains on {each:.1f} samples/s of "
        f"{spec.frames} frames"
    )
    return Row("loader, default codec", f"training {name} on this CPU", ratio, 10.0, note)
