"""Which frames make one sample, and which samples make one batch: numbers in, numbers out, nothing
is read here.

A training plan is a pure function of (seed, epoch) and of the manifest. That is why resuming in the
middle of an epoch is exact (the plan is made again and entered at batch k), and why two processes
train on the same global batches as one (every process makes the whole plan and takes its slice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.models.spec import ClipSpec
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import FAKE


@dataclass(frozen=True)
class Sample:
    """One input of a model: T frames of one video.

    video: position in the source's `entries`.
    picks: T pairs (cached clip, frame inside it), in time order.
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
        raise CacheError(
            f"expected at least one clip of one frame, the cache has {clips} of {length}"
        )
    if spec.mode == "consecutive" and spec.frames > length:
        raise CacheError(
            f"the model eats {spec.frames} consecutive frames, the cached clips have {length}; "
            f"extract again with --frames {spec.frames}"
        )


def _clips_wanted(spec: ClipSpec, length: int) -> int:
    """How many different clips one sparse or chained sample takes."""
    return -(-spec.frames // length) if spec.mode == "chained" else spec.frames


def _spread(spec: ClipSpec, clips: int, length: int) -> tuple[tuple[int, int], ...]:
    """`frames` frames evenly over a video that has fewer clips than the model wants; repeats when
    it must.
    """
    place = np.rint(np.linspace(0, clips * length - 1, spec.frames)).astype(int)
    return tuple((int(p) // length, int(p) % length) for p in place)


def _chain(chosen: Sequence[int], spec: ClipSpec, length: int) -> tuple[tuple[int, int], ...]:
    return tuple((int(clip), frame) for clip in chosen for frame in range(length))[: spec.frames]


def evaluation_picks(spec: ClipSpec, clips: int, length: int) -> list[tuple[tuple[int, int], ...]]:
    """Every way a video of `clips` clips x `length` frames is shown to the model; scores are
    averaged over them.

    consecutive: each clip.   sparse(f): the centre frames of clips s, s + k, s + 2k.. for s < k = clips // f, so that
    sparse(8) of 16 clips gives two samples.   chained(f): f / length whole clips spread over the video.
    single: the centre frame of each clip. Source: section 'What it needs from the cache' of the
    models' sheets.
    Raises CacheError when the cached clips are shorter than the model's.
    """  # noqa: E501
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
    """(clips,) which clips of a partly fake video can give a fake sample; truth: (clips, frames)
    labels.
    """
    shown = truth[:, : spec.frames] if spec.mode == "consecutive" else truth
    return (shown == FAKE).any(axis=1)


def _fake_picks(
    spec: ClipSpec,
    truth: NDArray[np.int64],
    turn: int,
    order: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[tuple[int, int], ...]:
    """As training_picks, of a partly fake video: at least one of the frames is fake, the others
    are as they come.
    """
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
        others = rng.choice(
            np.delete(np.arange(clips), clip), _clips_wanted(spec, length) - 1, replace=False
        )
        return _chain(np.sort(np.append(others, clip)), spec, length)
    parts = np.array_split(np.arange(clips), spec.frames)
    return tuple(
        pick if clip in part else (int(rng.choice(part)), int(rng.integers(length)))
        for part in parts
    )


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

    order: a permutation of its clips and turn: how often the video came before in this epoch, so
    that a video taken
    twice shows another clip.   sparse: a random frame of a random clip of each of f equal parts of the video (STIL's
    rule).   chained: random clips in time order (the Xception-LSTM rule).   truth: (clips, frames) labels of a partly
    fake video that shall show something fake.   Raises CacheError as evaluation_picks.
    """  # noqa: E501
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
        return _chain(
            np.sort(rng.choice(clips, _clips_wanted(spec, length), replace=False)), spec, length
        )
    parts = np.array_split(np.arange(clips), spec.frames)
    return tuple((int(rng.choice(part)), int(rng.integers(length))) for part in parts)
