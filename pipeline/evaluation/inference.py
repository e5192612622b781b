"""A trained model over a manifest's clips: one row of scores per sample, and one feature per video.

The only place where evaluation meets a network. Rows come in manifest order, whatever the batch
size; facts of the rows (dataset, method, compression, split, track, frame) are those of the cached
attributes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unmask.pipeline.clips.batches import RawBatch, batches
from unmask.pipeline.clips.prepare import prepare, random_of
from unmask.pipeline.clips.samples import MODES, Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.runs.checkpoint import Checkpoint
from unmask.pipeline.runs.run_folder import Run
from unmask.pipeline.scores.calibration import sigmoid
from unmask.pipeline.scores.table import ABSENT, Scores, scores_table

# One clip (T,S,S,3) uint8, which sample it is and its random numbers -> the same shape: what
# robustness puts in the place of the cached pixels.
Change = Callable[[NDArray[np.uint8], Sample, np.random.Generator], NDArray[np.uint8]]
# What is scored, samples done, samples in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Loaded:
    """A run ready to score."""

    run: Run
    model: nn.Module
    point: Checkpoint
    device: str


@dataclass(frozen=True)
class Scored:
    """scores: one row per sample.

    feature: (V, D) mean feature of each video in `source` order, or None.
    """

    scores: Scores
    feature: NDArray[np.float32] | None


@dataclass(frozen=True)
class Scoring:
    """How samples meet the network; the same for everything that one evaluation scores.

    model, device: the network is moved there.
    batch: samples at once.
    threads: that read the cache.
    half: bfloat16 autocast.
    progress: is told (what, samples done, samples in all) after each batch.
    """

    model: nn.Module
    device: str
    batch: int = 8
    threads: int = 2
    half: bool = False
    progress: Progress = lambda what, done, total: None

    def score(
        self,
        source: ClipSource,
        what: str = "",
        *,
        per_video: int = 0,
        only: Sequence[int] | None = None,
        change: Change | None = None,
    ) -> Scored:
        """Score every sample of every video.

        what: name of this pass for `progress`.
        per_video: at most so many samples per video, 0 for all.
        only: positions of the videos to score, None for all.
        change: applied to the cached pixels first.
        Raises CheckpointError when the model answers with something that is not a number, naming
        the folder.
        """
        samples = source.evaluation_samples(per_video)
        if only is not None:
            chosen = set(only)
            samples = [sample for sample in samples if sample.video in chosen]
        logit: list[NDArray[np.float64]] = []
        sums, counts, done = None, np.zeros(len(source)), 0
        for raw, outputs in self._outputs(source, samples, change):
            logit.append((outputs["logits"][:, 1] - outputs["logits"][:, 0]).double().cpu().numpy())
            _refuse_nan(logit[-1], raw, source)
            if "feature" in outputs:
                feature = outputs["feature"].float().cpu().numpy()
                sums = np.zeros((len(source), feature.shape[1])) if sums is None else sums
                place = [sample.video for sample in raw.samples]
                np.add.at(sums, place, feature)
                np.add.at(counts, place, 1)
            done += len(raw.samples)
            self.progress(what, done, len(samples))
        mean = None if sums is None else (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        return Scored(_table(source, samples, np.concatenate(logit)), mean)

    def _outputs(
        self, source: ClipSource, samples: list[Sample], change: Change | None
    ) -> Iterator[tuple[RawBatch, dict[str, Tensor]]]:
        model = self.model.to(self.device).eval()
        starts = range(0, len(samples), self.batch)
        plan = [samples[start : start + self.batch] for start in starts]
        pin, unchanged = self.device != "cpu", change is None
        for raw in batches(source, plan, threads=self.threads, pin=pin, as_stored=unchanged):
            if change is not None:
                for clip, sample in zip(raw.pixels, raw.samples, strict=True):
                    changed = change(clip.numpy(), sample, random_of(sample))
                    clip.copy_(torch.from_numpy(changed))
            ready = prepare(raw, source.spec, self.device)
            with (
                torch.inference_mode(),
                torch.autocast(self.device, torch.bfloat16) if self.half else nullcontext(),
            ):
                yield raw, model.outputs(ready.pixels, ready.bands)


def _refuse_nan(logit: NDArray[np.float64], raw: RawBatch, source: ClipSource) -> None:
    bad = np.flatnonzero(~np.isfinite(logit))
    if len(bad):
        folder = source.entries[raw.samples[bad[0]].video].folder
        raise CheckpointError(
            f"{folder}: the model answers {logit[bad[0]]} instead of a number; train it again"
        )


def _table(source: ClipSource, samples: list[Sample], logit: NDArray[np.float64]) -> Scores:
    facts = [clip_facts(source, video) for video in range(len(source))]
    order = [facts[sample.video] for sample in samples]
    clip, frame = _numbers(source, samples)
    return scores_table(
        **{
            name: [fact[name] for fact in order]
            for name in ("dataset", "video_id", "method", "compression", "split")
        },
        label=[int(source.labels[sample.video]) for sample in samples],
        row_label=[
            ABSENT if source.truth[sample.video] is None else source.label_of(sample)
            for sample in samples
        ],
        track=[fact["track"] for fact in order],
        clip=clip,
        frame=frame,
        logit=logit,
        score=sigmoid(logit),
    )


def clip_facts(source: ClipSource, video: int) -> dict[str, object]:
    """What the scores file says of a video; a folder of pictures knows its name only."""
    attributes, folder = source.readers[video].attributes, Path(source.entries[video].folder)
    label = int(source.labels[video])
    return {
        "dataset": str(attributes.get("dataset") or folder.parent.name),
        "video_id": str(attributes.get("video_id") or folder.name),
        "method": str(attributes.get("method") or ("fake" if label else "real")),
        "compression": str(attributes.get("compression") or ""),
        "split": str(attributes.get("split") or source.path.stem),
        "track": int(attributes.get("track") or 0),
    }


def _numbers(source: ClipSource, samples: list[Sample]) -> tuple[list[int], list[int]]:
    """clip: the cached clip of a sample that lies in one, else the sample's number within the
    video.

    frame: for models of one frame, the number of the picture in its file where the cache knows it.
    """
    mode = MODES[source.spec.mode]
    if mode.in_one_clip:
        clip = [sample.picks[0][0] for sample in samples]
    else:
        turn: dict[int, Iterator[int]] = defaultdict(count)
        clip = [next(turn[sample.video]) for sample in samples]
    if not mode.of_one_frame:
        return clip, [ABSENT] * len(samples)
    return clip, [_frame(source, sample) for sample in samples]


def _frame(source: ClipSource, sample: Sample) -> int:
    clip, frame = sample.picks[0]
    index = source.readers[sample.video].attributes.get("index")
    return clip * source.length + frame if index is None else int(index[clip][frame])
