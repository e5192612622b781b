"""The end of training on real footage only: a small network that has seen no fake of a manifest
tells drawn swaps of people it does not know from their originals.
"""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.tiny_cache import KEY, crops_of
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL, Entry
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.training.fabric import build_fabric
from unmask.pipeline.training.train import train
from unmask.pipeline.training.validation import sample_scores, video_metrics

SIDE, CLIPS = 112, 8
UNSEEN, TRAINED = range(100, 112), range(24)


def draw(cache, person, donor=None):
    """One video of a person, with the donor's face where there is one; cropped around the face."""
    size = (200, 200)
    worn = Forgery(draw_identity(donor if donor is not None else person + 1))
    forged = list(draw_frames(draw_identity(person), CLIPS * 4, size, person, worn, face=0.68))[::4]
    shown = (
        forged
        if donor is not None
        else list(draw_frames(draw_identity(person), CLIPS * 4, size, person, face=0.68))[::4]
    )
    pixels = np.empty((CLIPS, 1, SIDE, SIDE, 3), np.uint8)
    for clip, ((picture, _), (_, mask)) in enumerate(zip(shown, forged, strict=True)):
        y, x = np.argwhere(mask > 127).mean(0).round().astype(int) - SIDE // 2
        y, x = np.clip((y, x), 0, 200 - SIDE)
        pixels[clip, 0] = picture[y : y + SIDE, x : x + SIDE]
    half = SIDE / 1.3 / 2 * np.array([0.743, 1])
    box = np.tile([*(SIDE / 2 - half), *(SIDE / 2 + half)], (CLIPS, 1)).astype(np.float32)
    label, name = (REAL, f"p{person}") if donor is None else (FAKE, f"p{person}_{donor}")
    facts = {"dataset": "tiny", "key": name, "video_id": name, "label": label}
    place = cache / "tiny" / KEY
    place.mkdir(parents=True, exist_ok=True)
    write_video(place, name, replace(crops_of(pixels), box=box), None, None, facts, "zstd")
    return Entry(f"tiny/{KEY}/{name}", label)


@pytest.mark.slow
def test_a_small_network_that_saw_no_fake_tells_the_swaps_of_unseen_people(tmp_path):
    cache = tmp_path / "cache"
    reals = [draw(cache, person) for person in TRAINED]
    damaged = Entry(f"tiny/{KEY}/damaged", FAKE)
    (cache / damaged.folder).mkdir()
    (cache / damaged.folder / "zarr.json").write_bytes(b"\xff")
    write_manifest(tmp_path / "train.txt", [*reals, damaged])
    test = [draw(cache, person) for person in UNSEEN]
    test += [draw(cache, person, donor=person + 50) for person in UNSEEN]
    write_manifest(tmp_path / "test.txt", test)
    config = TrainConfig(
        manifest=str(tmp_path / "train.txt"),
        cache=str(cache),
        model="m2tr",
        recipe="real_only",
        options={"backbone": "test_efficientnet", "depth": 1, "side": 96},
        overrides={
            "batch": 16,
            "epochs": 10,
            "lr": 2e-3,
            "schedule": "cosine",
            "warmup": 0.5,
            "loss.con": 0.0,
        },
        all_clips=True,
        from_scratch=True,
        tensorboard=False,
        device="cpu",
    )
    run = train(config, run=tmp_path / "run").run
    model, _ = load_model(open_run(run))
    spec: ClipSpec = replace(model.spec, masks=False)
    source = ClipSource(tmp_path / "test.txt", cache, spec)
    process = build_fabric(config)
    settings = {"batch": 16, "per_video": 0, "threads": 1, "stopped": lambda: False}
    scores = sample_scores(model, source, process, **settings)
    auc, _ = video_metrics(source, scores, 0)
    # Measured 0.90; with blend.kinds of the oval alone 0.97, for the drawn swaps are ovals too: on
    # 24 videos that is no difference, and says nothing about real forgeries.
    assert auc > 0.8
