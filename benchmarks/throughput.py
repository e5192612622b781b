"""How fast the published networks train and score here, and in what memory: `python -m
benchmarks.throughput`.

Each model in a process of its own, so that peaks do not mix. From uint8 clips in memory through
`prepare` on the device, as train and evaluate do; reading from the cache is measured elsewhere.
Full sizes, no small options.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from unmask.models import create_model, list_models
from unmask.models.recipes.optimizers import build_optimizer
from unmask.models.recipes.recipes import get_recipe
from unmask.pipeline.clips.batches import RawBatch
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.machine.memory import keep_freed_memory

TABLE = Path(__file__).with_name("throughput.md")
CACHED_SIDE = 240


def measure(name: str, batch: int = 1, keep: bool = True, steps: int = 2) -> dict[str, float | str]:
    """Clips per second of a training step and of scoring, after one of each to warm up, and peak
    memory.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if keep:
        keep_freed_memory(device)
    torch.manual_seed(0)
    model = create_model(name).to(device)
    spec, recipe = model.spec, get_recipe(name, "")
    optimizer = build_optimizer(model, recipe)
    pixels = torch.randint(
        0, 256, (batch, spec.frames, CACHED_SIDE, CACHED_SIDE, 3), dtype=torch.uint8
    )
    samples = [Sample(k, ((0, 0),), k) for k in range(batch)]
    raw = RawBatch(samples, pixels, None, torch.arange(batch) % 2)

    def train() -> None:
        ready = prepare(raw, spec, device)
        loss = torch.nn.functional.cross_entropy(
            model.outputs(ready.pixels, ready.bands)["logits"], ready.label
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def score() -> None:
        ready = prepare(raw, spec, device)
        with torch.inference_mode():
            model.outputs(ready.pixels, ready.bands)

    rates = {}
    for what, step, mode in (("evaluate", score, False), ("train", train, True)):
        model.train(mode)
        step()
        _wait(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        _wait(device)
        rates[what] = batch * steps / (time.perf_counter() - started)
    return {"model": name, "device": device, "batch": batch, **rates, "gib": peak_gib(device)}


def peak_gib(device: str) -> float:
    """Most memory the process ever held, or on a GPU what its allocator handed out."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """One line per model to the terminal and to the table beside this file."""
    lines = [
        "| model | train, clips/s | evaluate, clips/s | peak memory, GiB | batch | given back: "
        "train, evaluate |",
        "|---|---|---|---|---|---|",
    ]
    for name in list_models():
        batch = min(2, get_recipe(name).batch)
        kept, given = (_alone(name, batch, keep) for keep in (True, False))
        cells = (
            name,
            f"{kept['train']:.3f}",
            f"{kept['evaluate']:.3f}",
            f"{kept['gib']:.1f}",
            str(batch),
        )
        lines.append(f"| {' | '.join(cells)} | {given['train']:.3f}, {given['evaluate']:.3f} |")
        sys.stdout.write(lines[-1] + "\n")
    where = (
        "GPU " + torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    about = (
        f"torch {torch.__version__}, {where}. Published sizes, random clips; `python -m "
        "benchmarks.throughput`.\n"
        "The last column is without `keep_freed_memory` (pipeline/machine/memory.py), which "
        "train and evaluate use on a CPU."
    )
    text = f"{about}\n\n" + "\n".join(lines) + "\n"
    TABLE.write_text(text)


def _alone(name: str, batch: int, keep: bool) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.throughput",
        name,
        str(batch),
        "keep" if keep else "give",
    ]
    return json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(
            json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "keep")) + "\n"
        )
    else:
        main()
