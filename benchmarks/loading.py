"""Batches ready for the device: the loader's threads against np.memmap, and against what the
smallest model eats.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from benchmarks.rows import Row, alternate
from benchmarks.storage import faces, shuffled, write_caches
from unmask.models import create_model, list_models
from unmask.models.cost import measure_cost
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.video import CachedVideo
from unmask.pipeline.clips.batches import RawBatch
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.machine.worker_pool import settle

BATCH, THREADS = 32, 2


def rows(scratch: Path, full: bool) -> list[Row]:
    """uint8 batches of 32 shuffled clips, buffers used again, from the page cache."""
    settle()
    caches = write_caches(scratch, faces(scratch))
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
    return [*found, _consumption(rate["zstd"])]


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
    batches = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]

    def run() -> None:
        for _ in source.batches(batches, threads=THREADS):
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
