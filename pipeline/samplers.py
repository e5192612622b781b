"""Which frames make one sample, and which samples make one batch: numbers in, numbers out, nothing is read here.

A training plan is a pure function of (seed, epoch) and of the manifest. That is why resuming in the middle of an
epoch is exact (the plan is made again and entered at batch k), and why two processes train on the same global batches
as one (every process makes the whole plan and takes its slice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.spec import ClipSpec
from pipeline.errors import CacheError, UsageError
from pipeline.records import FAKE, REAL

BALANCES = ("balanced", "paired", "none")

# For a balanced plan: a fake video of which no cached clip is fake.
NEITHER = -1


@dataclass(frozen=True)
class Sample:
    """One input of a model: T frames of one video.

    video: position in the source's `entries`.   picks: T pairs (cached clip, frame inside it), in time order.
    seed: of this sample's random augmentation and crop; None in evaluation, which has neither.
    """

    video: int
    picks: tuple[tuple[int, int], ...]
    seed: int | None = None

    @property
    def clips(self) -> tuple[int, ...]:
        """The cached clips it needs, each once, in ascending order."""
        return tuple(sorted({clip for clip, _ in self.picks}))


def _check(spec: ClipSpec, clips: int, length: int) -> None:
    if clips < 1 or length < 1:
        raise CacheError(f"expected at least one clip of one frame, the cache has {clips} of {length}")
    if spec.mode == "consecutive" and spec.frames > length:
        raise CacheError(
            f"the model eats {spec.frames} consecutive frames, the cached clips have {length}; "
            f"extract again with --frames {spec.frames}"
        )


def _clips_wanted(spec: ClipSpec, length: int) -> int:
    """How many different clips one sparse or chained sample takes."""
    return -(-spec.frames // length) if spec.mode == "chained" else spec.frames


def _spread(spec: ClipSpec, clips: int, length: int) -> tuple[tuple[int, int], ...]:
    """`frames` frames evenly over a video that has fewer clips than the model wants; repeats when it must."""
    place = np.rint(np.linspace(0, clips * length - 1, spec.frames)).astype(int)
    return tuple((int(p) // length, int(p) % length) for p in place)


def _chain(chosen: Sequence[int], spec: ClipSpec, length: int) -> tuple[tuple[int, int], ...]:
    return tuple((int(clip), frame) for clip in chosen for frame in range(length))[: spec.frames]


def evaluation_picks(spec: ClipSpec, clips: int, length: int) -> list[tuple[tuple[int, int], ...]]:
    """Every way a video of `clips` clips x `length` frames is shown to the model; scores are averaged over them.

    consecutive: each clip.   sparse(f): the centre frames of clips s, s + k, s + 2k.. for s < k = clips // f, so that
    sparse(8) of 16 clips gives two samples.   chained(f): f / length whole clips spread over the video.
    single: the centre frame of each clip. Source: section 'What it needs from the cache' of the models' sheets.
    Raises CacheError when the cached clips are shorter than the model's.
    """
    _check(spec, clips, length)
    centre = length // 2
    if spec.mode == "consecutive":
        return [tuple((clip, frame) for frame in range(spec.frames)) for clip in range(clips)]
    if spec.mode == "single":
        return [((clip, centre),) for clip in range(clips)]
    if clips < _clips_wanted(spec, length):
        return [_spread(spec, clips, length)]
    if spec.mode == "chained":
        count = _clips_wanted(spec, length)
        return [_chain(np.rint(np.linspace(0, clips - 1, count)).astype(int), spec, length)]
    step = clips // spec.frames
    return [tuple((start + step * i, centre) for i in range(spec.frames)) for start in range(step)]


def fake_clips(spec: ClipSpec, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(clips,) which clips of a partly fake video can give a fake sample; truth: (clips, frames) labels."""
    shown = truth[:, : spec.frames] if spec.mode == "consecutive" else truth
    return (shown == FAKE).any(axis=1)


def _fake_picks(
    spec: ClipSpec, truth: NDArray[np.int64], turn: int, order: NDArray[np.int64], rng: np.random.Generator
) -> tuple[tuple[int, int], ...]:
    """As training_picks, of a partly fake video: at least one of the frames is fake, the others are as they come."""
    clips, length = truth.shape
    chosen = order[fake_clips(spec, truth)[order]]
    clip = int(chosen[turn % len(chosen)])
    if spec.mode == "consecutive":
        return tuple((clip, frame) for frame in range(spec.frames))
    pick = (clip, int(rng.choice(np.flatnonzero(truth[clip] == FAKE))))
    if spec.mode == "single":
        return (pick,)
    if clips < _clips_wanted(spec, length):
        spread = list(_spread(spec, clips, length))
        away = [abs((c - pick[0]) * length + f - pick[1]) for c, f in spread]
        spread[int(np.argmin(away))] = pick  # the nearest makes room, so the order of time stays
        return tuple(spread)
    if spec.mode == "chained":
        others = rng.choice(np.delete(np.arange(clips), clip), _clips_wanted(spec, length) - 1, replace=False)
        return _chain(np.sort(np.append(others, clip)), spec, length)
    parts = np.array_split(np.arange(clips), spec.frames)
    return tuple(pick if clip in part else (int(rng.choice(part)), int(rng.integers(length))) for part in parts)


def training_picks(
    spec: ClipSpec,
    clips: int,
    length: int,
    turn: int,
    order: NDArray[np.int64],
    rng: np.random.Generator,
    truth: NDArray[np.int64] | None = None,
) -> tuple[tuple[int, int], ...]:
    """One random sample of a video.

    order: a permutation of its clips and turn: how often the video came before in this epoch, so that a video taken
    twice shows another clip.   sparse: a random frame of a random clip of each of f equal parts of the video (STIL's
    rule).   chained: random clips in time order (the Xception-LSTM rule).   truth: (clips, frames) labels of a partly
    fake video that shall show something fake.   Raises CacheError as evaluation_picks.
    """
    _check(spec, clips, length)
    if truth is not None:
        return _fake_picks(spec, truth, turn, order, rng)
    clip = int(order[turn % clips])
    if spec.mode == "consecutive":
        return tuple((clip, frame) for frame in range(spec.frames))
    if spec.mode == "single":
        return ((clip, int(rng.integers(length))),)
    if clips < _clips_wanted(spec, length):
        return _spread(spec, clips, length)
    if spec.mode == "chained":
        return _chain(np.sort(rng.choice(clips, _clips_wanted(spec, length), replace=False)), spec, length)
    parts = np.array_split(np.arange(clips), spec.frames)
    return tuple((int(rng.choice(part)), int(rng.integers(length))) for part in parts)


def _cycle(videos: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` videos in random order, each one floor or ceil of count / n times: none luckier, none forgotten."""
    rounds = -(-count // len(videos))
    return np.concatenate([rng.permutation(videos) for _ in range(rounds)])[:count]


def _groups(
    labels: NDArray[np.int64],
    pairs: Sequence[int | None],
    balance: str,
    shown: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[tuple[int, ...]]:
    """Videos that share a batch, in the order of the epoch: (real, fake) when balanced or paired, else (video,)."""
    real, fake = np.flatnonzero(labels == REAL), np.flatnonzero(labels == FAKE)
    turns = int(shown.max())
    if balance == "none":
        return [(int(v),) for turn in range(turns) for v in rng.permutation(len(labels)) if shown[v] > turn]
    if not len(real) or not len(fake):
        raise UsageError(
            f"balance '{balance}' needs both classes, the manifest has {len(real)} real and {len(fake)} fake videos"
        )
    if balance == "balanced":
        count = max(len(real), len(fake)) * turns
        return list(zip(_cycle(real, count, rng).tolist(), _cycle(fake, count, rng).tolist(), strict=True))
    paired = [int(v) for v in fake if pairs[v] is not None]
    if not paired:
        raise UsageError("balance 'paired' needs fakes whose original is in the same manifest, there is none")
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
    """All batches of one epoch: the same for the same arguments on every machine and in every process.

    labels: (V,).   pairs: position of each fake's original, or None.   shapes: (clips, frames) of each video.
    batch: samples in a global batch; sizes differ by at most one group, so that no epoch ends in a batch of one.
    balance: `balanced` alternates real and fake (CLRNet's rule), the smaller class repeats evenly with other clips;
    `paired` sets each fake beside its own original; `none` takes every video once.
    all_clips: every clip of every video instead of one clip of each video.
    truth: (clips, frames) frame labels of videos that are fake in parts. Where classes are balanced such a video
    stands for a fake, so only samples that show a fake frame are drawn from it, and none where it has no such clip;
    without balance every clip may come, as what it is. Ours: half a batch would else be fakes in name only.
    Raises UsageError when a class is missing, CacheError when the clips are too short.
    """
    if balance not in BALANCES:
        raise UsageError(f"balance '{balance}' is not one of {', '.join(BALANCES)}")
    rng = np.random.default_rng([seed, epoch])
    shown = np.array([len(evaluation_picks(spec, *shape)) if all_clips else 1 for shape in shapes])
    parts_of = list(truth) if truth and balance != "none" else [None] * len(labels)
    blank = [own is not None and not fake_clips(spec, own).any() for own in parts_of]
    groups = _groups(np.where(blank, NEITHER, labels), pairs, balance, shown, rng)
    size = len(groups[0])
    if batch < size:
        raise UsageError(f"balance '{balance}' needs batches of at least {size} samples, not {batch}")
    orders = [rng.permutation(clips) for clips, _ in shapes]
    taken = np.zeros(len(labels), np.int64)
    samples: list[list[Sample]] = []
    for group in groups:
        drawn = []
        for video in group:
            picks = training_picks(spec, *shapes[video], int(taken[video]), orders[video], rng, parts_of[video])
            taken[video] += 1
            drawn.append(Sample(video, picks, int(rng.integers(2**63))))
        samples.append(drawn)
    batches = -(-len(samples) // (batch // size))
    return [
        [sample for number in part for sample in samples[number]]
        for part in np.array_split(np.arange(len(samples)), batches)
    ]


def share(batch: list[Sample], rank: int, world: int, accumulate: int) -> list[list[Sample]]:
    """One process's micro-batches of a global batch: contiguous slices whose sizes differ by at most one.

    Raises UsageError when a slice would be empty.
    """
    if len(batch) < world * accumulate:
        raise UsageError(
            f"a batch of {len(batch)} samples cannot be shared by {world} processes x {accumulate} accumulated parts"
        )
    parts = np.array_split(np.arange(len(batch)), world * accumulate)
    return [[batch[i] for i in part] for part in parts[rank * accumulate : (rank + 1) * accumulate]]
