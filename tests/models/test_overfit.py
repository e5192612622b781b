"""Every detector can learn: a handful of drawn clips by heart, at its own small options and its
small recipe.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from unmask.models import create_model, list_models, model_class
from unmask.models.recipes.optimizers import build_optimizer
from unmask.models.recipes.recipes import get_recipe
from unmask.pipeline.clips.batches import RawBatch
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity

PEOPLE, STEPS, MOST_STEPS = 4, 4, 200


def drawn_clips(frames: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(2 * PEOPLE, frames, side, side, 3) uint8 and labels: each person, and somebody else's face
    on them.
    """
    clips = []
    for number in range(PEOPLE):
        for forgery in (None, Forgery(draw_identity(100 + number))):
            drawn = draw_frames(
                draw_identity(number), frames, (side, side), number, forgery, face=0.9
            )
            clips.append(np.stack([picture for picture, _ in drawn]))
    return torch.from_numpy(np.stack(clips)), torch.arange(2 * PEOPLE) % 2


@pytest.mark.parametrize("name", list_models())
def test_it_learns_a_handful_of_clips_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, **model_class(name).small)
    recipe = get_recipe(name, "small")
    optimizer = build_optimizer(model, recipe)
    pixels, label = drawn_clips(model.spec.frames, model.spec.size)
    samples = [Sample(number, ((number, 0),)) for number in range(len(label))]
    batch = prepare(RawBatch(samples, pixels, None, label), model.spec, "cpu")
    steps, area = 0, 0.0
    while area < 1 and steps < MOST_STEPS:
        for _ in range(STEPS):
            loss = torch.nn.functional.cross_entropy(
                model.train()(batch.pixels, batch.bands), batch.label
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        steps += STEPS
        with torch.no_grad():
            copy = measure_norms(deepcopy(model))
            copy(batch.pixels, batch.bands)
            area = roc_auc_score(label, copy.eval()(batch.pixels, batch.bands).softmax(1)[:, 1])
    assert area == 1


def measure_norms(model: torch.nn.Module) -> torch.nn.Module:
    """The model in training mode, its BatchNorms about to measure their next batch instead of
    following slowly.
    """
    for module in model.train().modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    return model
