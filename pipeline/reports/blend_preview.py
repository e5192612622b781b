"""What a training on real footage only shows its network, as one picture for a person."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.models.recipes.recipe import Recipe
from unmask.pipeline.clips.augment import build_augment
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.plans import training_plan
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.real_only import RealOnly
from unmask.pipeline.reports.heat import seen

HEAD, GAP, WHITE, INK = 24, 4, 255, 60


def blend_preview(source: RealOnly, recipe: Recipe, rows: int, seed: int) -> bytes:
    """A PNG of the first `rows` pairs of a training with this seed: real | fake | mask, the middle
    frame as the network gets it, augmented and of its size; two pairs side by side.

    source: with `spec.masks`, whose third column is what a mask head would learn.
    """
    spec = source.spec
    augment = build_augment(recipe.augment, spec.size)
    plan = training_plan(
        spec,
        source.labels,
        source.pairs,
        source.shapes,
        batch=recipe.batch,
        seed=seed,
        epoch=0,
        balance="self",
        all_clips=recipe.all_clips,
    )
    pairs = [batch[row : row + 2] for batch in plan for row in range(0, len(batch), 2)]
    shown = []
    for raw in batches(source, pairs[:rows], threads=1):
        data = prepare(raw, spec, "cpu", augment)
        assert data.pixels is not None and data.masks is not None
        middle = spec.frames // 2
        halves = [seen(pixels[middle][None], spec)[0] for pixels in data.pixels]
        tiles = [*halves, data.masks[1, middle].expand(3, -1, -1)]
        pictures = [(255 * t.permute(1, 2, 0)).round().byte().numpy() for t in tiles]
        shown.append(_row(pictures))
    columns = 1 if len(shown) == 1 else 2
    shown += [np.full_like(shown[0], WHITE)] * (-len(shown) % columns)
    lines = [np.hstack(shown[at : at + columns]) for at in range(0, len(shown), columns)]
    head = np.hstack([_head(spec.size)] * columns)
    return cv2.imencode(".png", np.vstack([head, *lines])[..., ::-1])[1].tobytes()


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures beside each other, a white gap right of and below each."""
    framed = [
        cv2.copyMakeBorder(p, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(WHITE,) * 3)
        for p in pictures
    ]
    return np.hstack(framed)


def _head(side: int) -> NDArray[np.uint8]:
    """The names above the columns of one pair."""
    head = np.full((HEAD, 3 * (side + GAP), 3), WHITE, np.uint8)
    for place, word in enumerate(("real", "fake", "mask")):
        at = (place * (side + GAP) + 2, HEAD - 7)
        cv2.putText(head, word, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (INK,) * 3, 1, cv2.LINE_AA)
    return head
