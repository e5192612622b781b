"""Which frames make one sample: one class a sampling mode; numbers in, numbers out, nothing is read
here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.models.spec import ClipSpec
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import FAKE

Pick = tuple[int, int]  # (cached clip, frame inside it)
Picks = tuple[Pick, ...]  # T of them, in time order


@dataclass(frozen=True)
class Sample:
    """One input of a model: T frames of one video.

    video: position in the source's `entries`.
    picks: its T frames, in time order.
    seed: of this sample's random augmentation and crop; None in evaluation, which has neither.
    """

    video: int
    picks: Picks
    seed: int | None = None

    @property
    def clips(self) -> tuple[int, ...]:
        """The cached clips it needs, each once, in ascending order."""
        return tuple(sorted({clip for clip, _ in self.picks}))


class Mode(ABC):
    """One way to take samples out of `clips` cached clips of `length` frames: what ClipSpec.mode
    names.

    in_one_clip: a sample lies in one cached clip, whose number then names it.
    of_one_frame: a sample is a picture, whose number in its video then names it.
    Order matters to all that are drawn: plans of earlier runs are made again from their seeds.
    """

    in_one_clip = False
    of_one_frame = False

    def check(self, frames: int, clips: int, length: int) -> None:
        """Raises CacheError when no sample of so many frames can be made."""
        if clips < 1 or length < 1:
            raise CacheError(
                f"expected at least one clip of one frame, the cache has {clips} of {length}"
            )

    def clips_for_one(self, frames: int, length: int) -> int:
        """How many different clips a sample takes where the video has enough."""
        return 1

    def can_show_fake(self, frames: int, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(clips,) which clips of a partly fake video can give a fake sample; truth: (clips,
        length) labels.
        """
        return (truth == FAKE).any(axis=1)

    @abstractmethod
    def evaluation(self, frames: int, clips: int, length: int) -> list[Picks]:
        """Every sample of a video; scores are averaged over them."""

    @abstractmethod
    def training(
        self, frames: int, clips: int, length: int, clip: int, rng: np.random.Generator
    ) -> Picks:
        """One random sample; clip: whose turn it is."""

    @abstractmethod
    def showing_fake(
        self, frames: int, truth: NDArray[np.int64], clip: int, rng: np.random.Generator
    ) -> Picks:
        """As training, of a partly fake video: one frame at least is fake, the others come as they
        are.

        truth: (clips, length) labels; clip: one that can show a fake.
        """


class Consecutive(Mode):
    """One cached clip, its first frames."""

    in_one_clip = True

    def check(self, frames: int, clips: int, length: int) -> None:
        super().check(frames, clips, length)
        if frames > length:
            raise CacheError(
                f"the model eats {frames} consecutive frames, the cached clips have {length}; "
                f"extract again with --frames {frames}"
            )

    def can_show_fake(self, frames: int, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
        return super().can_show_fake(frames, truth[:, :frames])

    def evaluation(self, frames: int, clips: int, length: int) -> list[Picks]:
        return [_first_frames(clip, frames) for clip in range(clips)]

    def training(
        self, frames: int, clips: int, length: int, clip: int, rng: np.random.Generator
    ) -> Picks:
        return _first_frames(clip, frames)

    def showing_fake(
        self, frames: int, truth: NDArray[np.int64], clip: int, rng: np.random.Generator
    ) -> Picks:
        return _first_frames(clip, frames)


class Single(Mode):
    """One frame: the centre of each clip in evaluation, any frame in training."""

    in_one_clip = of_one_frame = True

    def evaluation(self, frames: int, clips: int, length: int) -> list[Picks]:
        return [((clip, length // 2),) for clip in range(clips)]

    def training(
        self, frames: int, clips: int, length: int, clip: int, rng: np.random.Generator
    ) -> Picks:
        return ((clip, int(rng.integers(length))),)

    def showing_fake(
        self, frames: int, truth: NDArray[np.int64], clip: int, rng: np.random.Generator
    ) -> Picks:
        return (_fake_frame(truth, clip, rng),)


class Across(Mode):
    """Frames of several clips in time order. A video of fewer clips than one sample takes gives
    frames spread evenly over all it has, some of them twice when it must.
    """

    def evaluation(self, frames: int, clips: int, length: int) -> list[Picks]:
        if clips < self.clips_for_one(frames, length):
            return [_spread(frames, clips, length)]
        return self.evaluation_of_enough(frames, clips, length)

    def training(
        self, frames: int, clips: int, length: int, clip: int, rng: np.random.Generator
    ) -> Picks:
        if clips < self.clips_for_one(frames, length):
            return _spread(frames, clips, length)
        return self.training_of_enough(frames, clips, length, rng)

    def showing_fake(
        self, frames: int, truth: NDArray[np.int64], clip: int, rng: np.random.Generator
    ) -> Picks:
        clips, length = truth.shape
        pick = _fake_frame(truth, clip, rng)
        if clips >= self.clips_for_one(frames, length):
            return self.training_with(pick, frames, clips, length, rng)
        spread = list(_spread(frames, clips, length))
        away = [abs((c - pick[0]) * length + f - pick[1]) for c, f in spread]
        spread[int(np.argmin(away))] = pick  # the nearest makes room, so the order of time stays
        return tuple(spread)

    @abstractmethod
    def evaluation_of_enough(self, frames: int, clips: int, length: int) -> list[Picks]: ...

    @abstractmethod
    def training_of_enough(
        self, frames: int, clips: int, length: int, rng: np.random.Generator
    ) -> Picks: ...

    @abstractmethod
    def training_with(
        self, pick: Pick, frames: int, clips: int, length: int, rng: np.random.Generator
    ) -> Picks:
        """As training_of_enough, with this frame (or all of its clip) among them."""


class Sparse(Across):
    """One frame of each of `frames` clips (Gu et al. 2021, STIL).

    Evaluation: the centre frames of clips s, s + k, s + 2k ... for s < k = clips // frames, so that
    8 frames of 16 clips give two samples. Training: a random frame of a random clip of each of
    `frames` equal parts of the video.
    """

    def clips_for_one(self, frames: int, length: int) -> int:
        return frames

    def evaluation_of_enough(self, frames: int, clips: int, length: int) -> list[Picks]:
        step = clips // frames
        return [
            tuple((start + step * i, length // 2) for i in range(frames)) for start in range(step)
        ]

    def training_of_enough(
        self, frames: int, clips: int, length: int, rng: np.random.Generator
    ) -> Picks:
        parts = np.array_split(np.arange(clips), frames)
        return tuple((int(rng.choice(part)), int(rng.integers(length))) for part in parts)

    def training_with(
        self, pick: Pick, frames: int, clips: int, length: int, rng: np.random.Generator
    ) -> Picks:
        parts = np.array_split(np.arange(clips), frames)
        return tuple(
            pick if pick[0] in part else (int(rng.choice(part)), int(rng.integers(length)))
            for part in parts
        )


class Chained(Across):
    """Whole clips in time order (Chen et al. 2022): spread over the video in evaluation, random
    ones in training.
    """

    def clips_for_one(self, frames: int, length: int) -> int:
        return -(-frames // length)

    def evaluation_of_enough(self, frames: int, clips: int, length: int) -> list[Picks]:
        places = np.linspace(0, clips - 1, self.clips_for_one(frames, length))
        return [_whole_clips(np.rint(places).astype(int), frames, length)]

    def training_of_enough(
        self, frames: int, clips: int, length: int, rng: np.random.Generator
    ) -> Picks:
        chosen = rng.choice(clips, self.clips_for_one(frames, length), replace=False)
        return _whole_clips(np.sort(chosen), frames, length)

    def training_with(
        self, pick: Pick, frames: int, clips: int, length: int, rng: np.random.Generator
    ) -> Picks:
        others = np.delete(np.arange(clips), pick[0])
        chosen = rng.choice(others, self.clips_for_one(frames, length) - 1, replace=False)
        return _whole_clips(np.sort(np.append(chosen, pick[0])), frames, length)


class Runs(Mode):
    """`run` consecutive frames of each of `frames` / `run` equal parts of the video (Xu et al.
    2023, TALL).

    Evaluation: the first frames of each part's first clip. Training: anywhere in any clip of the
    part. A video of fewer clips than parts gives all it has, some twice.
    """

    def __init__(self, run: int) -> None:
        self.run = run

    def check(self, frames: int, clips: int, length: int) -> None:
        super().check(frames, clips, length)
        if self.run > length:
            raise CacheError(
                f"the model eats runs of {self.run} frames, the cached clips have {length}; "
                f"extract again with --frames {self.run}"
            )

    def clips_for_one(self, frames: int, length: int) -> int:
        return -(-frames // self.run)

    def _parts(self, frames: int, clips: int, length: int) -> list[NDArray[np.int64]]:
        count = self.clips_for_one(frames, length)
        if clips >= count:
            return np.array_split(np.arange(clips), count)
        places = np.rint(np.linspace(0, clips - 1, count)).astype(int)
        return [np.array([place]) for place in places]

    def evaluation(self, frames: int, clips: int, length: int) -> list[Picks]:
        parts = self._parts(frames, clips, length)
        return [self._joined([(int(part[0]), 0) for part in parts], frames)]

    def training(
        self, frames: int, clips: int, length: int, clip: int, rng: np.random.Generator
    ) -> Picks:
        return self._joined(self._drawn(frames, clips, length, rng), frames)

    def showing_fake(
        self, frames: int, truth: NDArray[np.int64], clip: int, rng: np.random.Generator
    ) -> Picks:
        clips, length = truth.shape
        clip, frame = _fake_frame(truth, clip, rng)
        begins = self._drawn(frames, clips, length, rng)
        parts = self._parts(frames, clips, length)
        # of a short video the nearest part makes room, so that the order of time stays
        away = [0 if clip in part else 1 + abs(int(part[0]) - clip) for part in parts]
        low, high = max(0, frame - self.run + 1), min(frame, length - self.run)
        begins[int(np.argmin(away))] = (clip, int(rng.integers(low, high + 1)))
        return self._joined(begins, frames)

    def _drawn(self, frames: int, clips: int, length: int, rng: np.random.Generator) -> list[Pick]:
        """Where each part's run begins."""
        return [
            (int(rng.choice(part)), int(rng.integers(length - self.run + 1)))
            for part in self._parts(frames, clips, length)
        ]

    def _joined(self, begins: list[Pick], frames: int) -> Picks:
        return tuple((c, first + k) for c, first in begins for k in range(self.run))[:frames]


MODES: dict[str, Mode] = {
    "consecutive": Consecutive(),
    "sparse": Sparse(),
    "chained": Chained(),
    "single": Single(),
    "runs": Runs(1),
}


def mode_of(spec: ClipSpec) -> Mode:
    """The sampling mode that a spec names."""
    return Runs(spec.run) if spec.mode == "runs" else MODES[spec.mode]


def evaluation_picks(spec: ClipSpec, clips: int, length: int) -> list[Picks]:
    """Every way a video of `clips` clips x `length` frames is shown to the model; scores are
    averaged over them.

    Raises CacheError when the cached clips are shorter than the model's.
    """
    mode = mode_of(spec)
    mode.check(spec.frames, clips, length)
    return mode.evaluation(spec.frames, clips, length)


def training_picks(
    spec: ClipSpec,
    clips: int,
    length: int,
    turn: int,
    order: NDArray[np.int64],
    rng: np.random.Generator,
    truth: NDArray[np.int64] | None = None,
) -> Picks:
    """One random sample of a video.

    order: a permutation of its clips.
    turn: how often the video came before in this epoch, so that one taken twice shows another clip.
    truth: (clips, length) labels of a partly fake video that shall show something fake.
    Raises CacheError as evaluation_picks.
    """
    mode = mode_of(spec)
    mode.check(spec.frames, clips, length)
    if truth is None:
        return mode.training(spec.frames, clips, length, int(order[turn % clips]), rng)
    fake = order[mode.can_show_fake(spec.frames, truth)[order]]
    return mode.showing_fake(spec.frames, truth, int(fake[turn % len(fake)]), rng)


def frame_of_turn(
    length: int, turn: int, order: NDArray[np.int64], truth: NDArray[np.int64] | None = None
) -> Picks:
    """The single frame of a turn where an epoch shows every cached frame of a video once.

    length: frames of a cached clip.
    order: a permutation of all frames of all clips.
    truth: (clips, length) labels of a partly fake video that shall show something fake.
    """
    if truth is not None:
        order = order[truth.ravel()[order] == FAKE]
    place = int(order[turn % len(order)])
    return ((place // length, place % length),)


def _first_frames(clip: int, frames: int) -> Picks:
    return tuple((clip, frame) for frame in range(frames))


def _fake_frame(truth: NDArray[np.int64], clip: int, rng: np.random.Generator) -> Pick:
    return clip, int(rng.choice(np.flatnonzero(truth[clip] == FAKE)))


def _spread(frames: int, clips: int, length: int) -> Picks:
    place = np.rint(np.linspace(0, clips * length - 1, frames)).astype(int)
    return tuple((int(p) // length, int(p) % length) for p in place)


def _whole_clips(chosen: NDArray[np.int64], frames: int, length: int) -> Picks:
    return tuple((int(clip), frame) for clip in chosen for frame in range(length))[:frames]
