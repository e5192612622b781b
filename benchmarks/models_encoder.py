"""What few trained parameters save: peak memory of a training step of LayerNorms or low-rank
changes beside full tuning, and a head on stored features of 10,000 clips.

Memory is that of a whole process: weights, gradients, AdamW's moments, activations and kernels'
scratch, each way in a process of its own. Random weights and drawn features: no number here
depends on what they are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.models_m2tr import resident_mib
from benchmarks.models_stil import Row
from unmask.models import create_model
from unmask.models.recipes.losses import total_loss
from unmask.models.recipes.recipes import get_recipe
from unmask.pipeline.cache.digest import DIGEST, file_sha256
from unmask.pipeline.cache.feature_group import write_features
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.features.frozen import frozen_encoder
from unmask.pipeline.features.settings import write_index
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Crops, Entry

BACKBONE, BATCHES = "clip-b", (4, 16)
TUNES = ("full", "norm", "lora")
VIDEOS, CLIPS, FRAMES, SIDE = 625, 16, 5, 16
HEADED = "pe-core-s"


def peak_of_a_step(tune: str, batch: int) -> tuple[float, float]:
    """(MiB that building the model and two steps add to this process, MiB that the last step's
    graph keeps for its way back).
    """
    before = resident_mib("VmRSS")
    torch.manual_seed(0)
    model = create_model("encoder", backbone=BACKBONE, tune=tune).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    clip, label = torch.randn(batch, 1, 3, 224, 224), torch.arange(batch) % 2
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    for _ in range(2):
        kept.clear()
        optimizer.zero_grad(set_to_none=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = total_loss(get_recipe("encoder").loss, model.outputs(clip), label)["loss"]
        loss.backward()
        optimizer.step()
    saved = sum(size for place, size in kept.items() if place not in own)
    return resident_mib("VmHWM") - before, saved / 2**20


def measured(tune: str, batch: int) -> tuple[float, float]:
    """peak_of_a_step in a process of its own."""
    code = f"from benchmarks.models_encoder import *; print(*peak_of_a_step('{tune}', {batch}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    peak, saved = map(float, done.stdout.split()[-2:])
    return peak, saved


def memory_rows() -> list[Row]:
    """Ratios to full tuning, per batch size."""
    rows = []
    for batch in BATCHES:
        found = {tune: measured(tune, batch) for tune in TUNES}
        for tune in TUNES[1:]:
            peak, saved = found[tune]
            full, full_saved = found["full"]
            note = f"{full:.0f} MiB, {peak:.0f} MiB; kept for the way back {full_saved:.0f}, "
            rows.append(
                (f"{BACKBONE} tune={tune}, batch {batch}, step's peak memory", "tune=full",
                 full / peak, 1 / 0.6, note + f"{saved:.0f} MiB")
            )  # fmt: skip
    return rows


def drawn_store(root: Path) -> TrainConfig:
    """A cache of tiny crops, features of them that a line can part, and how to train on them."""
    rng, entries = np.random.default_rng(0), []
    frozen = frozen_encoder({"backbone": HEADED}, "random:0", "drawn-key")
    width, parent = frozen.model.encoder.num_features, root / "cache" / "drawn" / "drawn-key"
    place = root / "features" / "drawn" / "drawn-key" / frozen.settings.key
    for folder in (parent, place):
        folder.mkdir(parents=True)
    pixels = rng.integers(0, 255, (CLIPS, FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    index = np.arange(CLIPS * FRAMES).reshape(CLIPS, FRAMES)
    crops = Crops(
        pixels=pixels, index=index, pts=index / 25, box=np.zeros((CLIPS, 4), np.float32),
        landmark=np.zeros((CLIPS, 5, 2), np.float32), prob=np.ones(CLIPS, np.float32),
        transform=np.zeros((CLIPS, 2, 3), np.float32), window=np.arange(CLIPS),
    )  # fmt: skip
    direction = rng.normal(size=width)
    for number in range(VIDEOS):
        name, label = f"v{number:04}", number % 2
        attributes = {"dataset": "drawn", "key": name, "video_id": name, "label": label}
        write_video(parent, name, crops, None, None, attributes)
        noise = rng.normal(size=(CLIPS, FRAMES, width)) + 0.1 * (2 * label - 1) * direction
        digest = file_sha256(parent / name / DIGEST)
        write_features(place, name, noise.astype(np.float16), {"crops": digest})
        entries.append(Entry(f"drawn/drawn-key/{name}", label))
    write_index(place, frozen.settings, [Path(entry.folder).name for entry in entries])
    write_manifest(root / "train.txt", entries)
    return TrainConfig(
        manifest=str(root / "train.txt"), cache=str(root / "cache"), model="encoder",
        options={"frames": FRAMES}, features="auto", store=str(root / "features"),
        device="cpu", tensorboard=False,
    )  # fmt: skip


def head_row() -> Row:
    """Seconds of one whole training, from the command's configuration to the written run."""
    from unmask.pipeline.training.train import train

    with tempfile.TemporaryDirectory() as folder:
        config = drawn_store(Path(folder))
        seconds, of_cpu = [], []
        for number in range(2):
            start, cpu = time.perf_counter(), time.process_time()
            result = train(config, run=Path(folder) / f"run{number}")
            seconds.append(time.perf_counter() - start)
            of_cpu.append(time.process_time() - cpu)
    note = (
        f"{min(seconds):.1f} s ({min(of_cpu):.1f} s of CPU) for {result.progress.step} steps, "
        "encoder and writing included"
    )
    clips = VIDEOS * CLIPS
    what = f"linear head on {clips:,} clips of {FRAMES} frames, {HEADED}, 10 epochs: 10 s over it"
    return (what, "-", 10 / min(seconds), 1.0, note)


def rows() -> list[Row]:
    """Both."""
    return [*memory_rows(), head_row()]


if __name__ == "__main__":
    for row in rows():
        print(row)
