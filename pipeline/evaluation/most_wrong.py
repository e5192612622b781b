"""What moved the score of the videos farthest from their label: Grad-CAM on the network's last map,
or the mask it predicts.

Works for any of our models without knowing its layers: the map is the output of the last module
that still has at least 7 x 7 places (convolution maps in either channel order, or tokens on a
square grid). Source: Selvaraju et al., ICCV 2017, eq. 1 and 2, on logit(fake) - logit(real), drawn
for the side the model decided for. A heat map shows where the score came from; it does not show
what was manipulated.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.evaluation.page import Wrong
from unmask.pipeline.records import FAKE
from unmask.pipeline.reports.heat import FRAMES, heat_of, overlay, seen
from unmask.pipeline.scores.evaluate_scores import most_wrong
from unmask.pipeline.scores.table import Scores


def explain(
    model: nn.Module,
    source: ClipSource,
    scores: Scores,
    joined: Scores,
    threshold: float,
    device: str,
    count: int,
    per_video: int = 0,
) -> list[Wrong]:
    """Pictures of the videos farthest from their label, at most `count` per class, worst first.

    scores: rows in the order of `source.evaluation_samples(per_video)`.
    joined: their videos, at the score that `threshold` decides.
    """
    samples, number, own = source.evaluation_samples(per_video), scores.video, scores.by_row().label
    shown = []
    for row in most_wrong(joined, count).tolist():
        mine = np.flatnonzero(number == row)
        worst = mine[np.argmax(np.abs(scores.score[mine] - own[mine]))]
        picture, what = draw(model, source, samples[worst], device)
        label, score = int(joined.label[row]), float(joined.score[row])
        shown.append(
            Wrong(
                str(joined.video_id[row]),
                label,
                score,
                str(joined.method[row]),
                picture,
                what,
                wrong=(score >= threshold) != (label == FAKE),
            )
        )
    return shown


def draw(model: nn.Module, source: ClipSource, sample: Sample, device: str) -> tuple[bytes, str]:
    """One sample as a JPEG: frames above, the same frames with the heat below; and what the heat
    is.
    """
    raw = next(batches(source, [[sample]], threads=1, as_stored=False))
    batch = prepare(raw, source.spec, device)
    heat, what = heat_of(model, batch)
    frames = seen(batch.pixels[0], source.spec)  # (T,3,S,S)
    chosen = np.unique(
        np.rint(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)))).astype(int)
    )
    return overlay(
        frames[chosen].cpu(), heat[chosen if len(heat) == len(frames) else [0] * len(chosen)].cpu()
    ), what
