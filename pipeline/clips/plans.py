"""Which clips an epoch of training takes, in which order, and which of them a process gets.

A plan is a pure function of (seed, epoch) and of the manifest. That is why resuming in the middle
of an epoch is exact (the plan is made again and entered at batch k), and why two processes train on
the same global batches as one (every process makes the whole plan and takes its slice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.samples import (
    MODES,
    Sample,
    evaluation_picks,
    frame_of_turn,
    mode_of,
    training_picks,
)
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL

BALANCES = ("balanced", "paired", "none", "self")

# For a balanced plan: a fake video of which no cached clip is fake.
NEITHER = -1


def _cycle(videos: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` videos in random order, each one floor or ceil of count / n times: none luckier,
    none forgotten.
    """
    rounds = -(-count // len(videos))
    return np.concatenate([rng.permutation(videos) for _ in range(rounds)])[:count]


def _groups(
    labels: NDArray[np.int64],
    pairs: Sequence[int | None],
    balance: str,
    shown: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[tuple[int, ...]]:
    """Videos that share a batch, in the order of the epoch: (real, fake) when balanced, paired or
    self, else (video,).
    """
    real, fake = np.flatnonzero(labels == REAL), np.flatnonzero(labels == FAKE)
    turns = int(shown.max())
    if balance == "none":
        return [
            (int(v),)
            for turn in range(turns)
            for v in rng.permutation(len(labels))
            if shown[v] > turn
        ]
    if balance == "self":
        own = {int(pair): int(v) for v, pair in enumerate(pairs) if pair is not None}
        return [
            (int(v), own[int(v)])
            for turn in range(turns)
            for v in rng.permutation(real)
            if shown[v] > turn
        ]
    if not len(real) or not len(fake):
        raise UsageError(
            f"balance '{balance}' needs both classes, the manifest has {len(real)} real and "
            f"{len(fake)} fake videos"
        )
    if balance == "balanced":
        count = max(len(real), len(fake)) * turns
        return list(
            zip(_cycle(real, count, rng).tolist(), _cycle(fake, count, rng).tolist(), strict=True)
        )
    paired = [int(v) for v in fake if pairs[v] is not None]
    if not paired:
        raise UsageError(
            "balance 'paired' needs fakes whose original is in the same manifest, there is none"
        )
    # A fake whose original is not here gets any real video: it is trained on, never dropped.
    other = iter(_cycle(real, max(1, (len(fake) - len(paired)) * turns), rng).tolist())
    order = [int(v) for _ in range(turns) for v in rng.permutation(fake)]
    return [(next(other) if pairs[v] is None else int(pairs[v]), v) for v in order]


def training_plan(
    spec: ClipSpec,
    labels: NDArray[np.int64],
    pairs: Sequence[int | None],
    shapes: Sequence[tuple[int, int]],
    *,
    batch: int,
    seed: int,
    epoch: int,
    balance: str = "balanced",
    all_clips: bool = False,
    truth: Sequence[NDArray[np.int64] | None] = (),
) -> list[list[Sample]]:
    """All batches of one epoch: the same for the same arguments on every machine and in every
    process.

    labels: (V,).
    pairs: position of each fake's original, or None.
    shapes: (clips, frames) of each video.
    batch: samples in a global batch; sizes differ by at most one group, so that no epoch ends in a
        batch of one.
    balance: `balanced` alternates real and fake (CLRNet's rule), the smaller class repeats evenly
        with other clips; `paired` sets each fake beside its own original; `none` takes every video
        once; `self` takes every real of a source of real footage (real_only.py) once, beside the
        fake that is made of the same frames with the same seed.
    all_clips: every clip of every video instead of one clip of each video; in the mode of single
        pictures every frame of every clip.
    truth: (clips, frames) frame labels of videos that are fake in parts. Where classes are balanced
        such a video stands for a fake, so only samples that show a fake frame are drawn from it,
        and none where it has no such clip; without balance every clip may come, as what it is.
        Ours: half a batch would else be fakes in name only.
    Raises UsageError when a class is missing, CacheError when the clips are too short.
    """
    if balance not in BALANCES:
        raise UsageError(f"balance '{balance}' is not one of {', '.join(BALANCES)}")
    rng = np.random.default_rng([seed, epoch])
    every_frame = all_clips and MODES[spec.mode].of_one_frame
    if every_frame:
        shown = np.array([clips * length for clips, length in shapes])
    elif all_clips:
        shown = np.array([len(evaluation_picks(spec, *shape)) for shape in shapes])
    else:
        shown = np.ones(len(shapes), np.int64)
    parts_of = list(truth) if truth and balance != "none" else [None] * len(labels)
    can_show_fake = mode_of(spec).can_show_fake
    blank = [own is not None and not can_show_fake(spec.frames, own).any() for own in parts_of]
    groups = _groups(np.where(blank, NEITHER, labels), pairs, balance, shown, rng)
    size = len(groups[0])
    if batch < size:
        raise UsageError(
            f"balance '{balance}' needs batches of at least {size} samples, not {batch}"
        )
    # What a video shows, in the order of its turns: its clips, or all its frames one by one.
    orders = [rng.permutation(clips * length if every_frame else clips) for clips, length in shapes]
    taken = np.zeros(len(labels), np.int64)
    samples: list[list[Sample]] = []
    for group in groups:
        drawn = []
        for video in group:
            if balance == "self" and drawn:
                drawn.append(replace(drawn[0], video=video))
                continue
            turn, order, truth_of = int(taken[video]), orders[video], parts_of[video]
            if every_frame:
                picks = frame_of_turn(shapes[video][1], turn, order, truth_of)
            else:
                picks = training_picks(spec, *shapes[video], turn, order, rng, truth_of)
            taken[video] += 1
            drawn.append(Sample(video, picks, int(rng.integers(2**63))))
        samples.append(drawn)
    batches = -(-len(samples) // (batch // size))
    return [
        [sample for number in part for sample in samples[number]]
        for part in np.array_split(np.arange(len(samples)), batches)
    ]


def share(
    batch: list[Sample], rank: int, world: int, accumulate: int, together: int = 1
) -> list[list[Sample]]:
    """One process's micro-batches of a global batch: contiguous slices whose sizes differ by at
    most `together`, of which so many neighbours are never parted.

    Raises UsageError when a slice would be empty.
    """
    groups = len(batch) // together
    if groups < world * accumulate:
        raise UsageError(
            f"a batch of {len(batch)} samples{'' if together == 1 else f' ({groups} pairs)'} "
            f"cannot be shared by {world} processes x {accumulate} accumulated parts"
        )
    parts = np.array_split(np.arange(groups), world * accumulate)
    return [
        [sample for i in part for sample in batch[i * together : (i + 1) * together]]
        for part in parts[rank * accumulate : (rank + 1) * accumulate]
    ]
