"""The features of pairs, computed by a frozen network or read from a store, and what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import QualityConfig
from unmask.pipeline.features.store import find_key, read_features
from unmask.pipeline.quality.frechet import (
    KERNEL_LEAST,
    ROWS_A_DIMENSION,
    frechet_distance,
    kernel_distance,
)
from unmask.pipeline.quality.measure import clip_masks, mask_definition
from unmask.pipeline.quality.mixing import nearest_neighbours, separability, silhouette, unit
from unmask.pipeline.quality.networks import Network
from unmask.pipeline.quality.pairs import Pair
from unmask.pipeline.records import FAKE, REAL, Entry
from unmask.pipeline.scores.metrics import Measure

Floats = NDArray[np.float64]
Kind = tuple[str, str]

GREY = 128
# Videos of a class in picture and neighbours, and frames of a class in the distances.
MOST, MOST_FRAMES = 500, 4000
REALS = "real"


@dataclass(frozen=True)
class Side:
    """One video. frames: (n, D) of the middle frame of each of its compared clips; bare: (D,) of
    the middle one with the forged region made grey, None where stored features are read.
    """

    frames: NDArray[np.float32]
    bare: NDArray[np.float32] | None = None

    @property
    def middle(self) -> NDArray[np.float32]:
        return self.frames[len(self.frames) // 2]


@dataclass(frozen=True)
class Space:
    """numbers: kind -> name -> measure. place: picture -> (R, 2) points; names, label: of each.

    network: whose features. fingerprint: of its weights.
    """

    network: str
    fingerprint: str
    numbers: dict[Kind, dict[str, Measure]]
    place: dict[str, Floats]
    names: tuple[str, ...]
    label: NDArray[np.int64]


class Encoder:
    """Features of cached videos, those of originals kept, since several fakes may have one."""

    def __init__(self, config: QualityConfig, pairs: Sequence[Pair], network: Network | None):
        self.config, self.network, self.cache = config, network, Path(config.cache)
        self.key = ""
        if network is None:
            entries = [self._entry(folder) for p in pairs for folder in (p.fake, p.original)]
            self.key = find_key(Path(config.store), entries, config.features)
        self.fingerprint = "" if network is None else network.fingerprint
        self.originals: dict[tuple[Path, tuple[int, ...]], NDArray[np.float32]] = {}

    @property
    def name(self) -> str:
        return self.network.name if self.network else self.key

    def sides(self, pair: Pair, mask: str) -> tuple[Side, Side]:
        """(original, fake). Raises CacheError for crops or features that are damaged or missing."""
        mine, theirs = (tuple(c) for c in zip(*pair.clips, strict=True))
        fakes = self._frames(pair.fake, mine)
        known = (pair.original, theirs)
        if known not in self.originals:
            self.originals[known] = self._frames(*known)
        reals = self.originals[known]
        if self.network is None:
            return Side(reals), Side(fakes)
        bare = self._bare(pair, mask)
        return Side(reals, bare[0]), Side(fakes, bare[1])

    def _entry(self, folder: Path) -> Entry:
        return Entry(folder.relative_to(self.cache).as_posix(), REAL)

    def _frames(self, folder: Path, clips: tuple[int, ...]) -> NDArray[np.float32]:
        if self.network is None:
            entry = self._entry(folder)
            stored = read_features(Path(self.config.store), self.cache, [entry], self.key)
            self.fingerprint = stored.settings.weights
            features = stored.features[0][list(clips)]  # (n, T, D)
            return features[:, features.shape[1] // 2].astype(np.float32)
        video = open_video(folder)
        middle = video.shape[1] // 2
        return self._pooled(video.read_crops(clips)[:, middle])

    def _bare(self, pair: Pair, mask: str) -> NDArray[np.float32]:
        """(2, D) of original and fake with the forged region made grey in both."""
        clip = pair.clips[len(pair.clips) // 2]
        fake, original = open_video(pair.fake), open_video(pair.original)
        true, forged = original.read_crops([clip[1]])[0], fake.read_crops([clip[0]])[0]
        middle = len(true) // 2
        inside = clip_masks(mask, fake, original, clip, true, forged)[0][middle]
        pictures = np.stack([true[middle], forged[middle]])
        pictures[:, inside] = GREY
        return self._pooled(pictures)

    @torch.inference_mode()
    def _pooled(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.network is not None
        return self.network.pooled(torch.from_numpy(pictures.copy())).numpy()


def space_of(
    pairs: Sequence[Pair],
    config: QualityConfig,
    network: Network | None,
    progress: Callable[[], None] = lambda: None,
) -> Space:
    """Where real and fake lie, method by method.

    network: that computes the features; None to read those stored under config.features.
    Raises CacheError for crops or features that are damaged or missing, UsageError without stored
    features.
    """
    encoder = Encoder(config, pairs, network)
    by_kind: dict[Kind, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_kind[pair.kind].append(pair)
    numbers: dict[Kind, dict[str, Measure]] = {}
    points: dict[str, tuple[str, int, NDArray[np.float32]]] = {}
    for kind, own in by_kind.items():
        mask = mask_definition(own, config.mask)
        sides = []
        for pair in own:
            sides.append(encoder.sides(pair, mask))
            progress()
        numbers[kind] = _numbers(own, sides, config)
        for pair, (real, fake) in list(zip(own, sides, strict=True))[:MOST]:
            points.setdefault(str(pair.original), (REALS, REAL, real.middle))
            points[str(pair.fake)] = (name_of(kind), FAKE, fake.middle)
    features = np.array([feature for _, _, feature in points.values()], dtype=np.float64)
    return Space(
        network=encoder.name,
        fingerprint=encoder.fingerprint,
        numbers=numbers,
        place=_places(features, config.seed),
        names=tuple(name for name, _, _ in points.values()),
        label=np.array([label for _, label, _ in points.values()], dtype=np.int64),
    )


def name_of(kind: Kind) -> str:
    """A method and its compression for a reader."""
    method, compression = kind
    return method if compression in ("", "none") else f"{method} {compression}"


def _numbers(
    pairs: Sequence[Pair], sides: Sequence[tuple[Side, Side]], config: QualityConfig
) -> dict[str, Measure]:
    # An original of several fakes counts once.
    reals = {pair.original: (pair, side[0]) for pair, side in zip(pairs, sides, strict=True)}
    rows = [*reals.values(), *((p, side[1]) for p, side in zip(pairs, sides, strict=True))]
    label = np.array([REAL] * len(reals) + [FAKE] * len(pairs))
    few = np.concatenate([np.flatnonzero(label == value)[:MOST] for value in (REAL, FAKE)])
    label = label[few]
    group = np.array([rows[row][0].group for row in few])
    middle = np.array([rows[row][1].middle for row in few], dtype=np.float64)
    how = (config.resamples, config.seed)
    found = {
        "neighbours": nearest_neighbours(middle, label, group, *how),
        "separability": separability(middle, label, group, *how),
        "silhouette": silhouette(middle, label),
    }
    bare = [rows[row][1].bare for row in few]
    if all(one is not None for one in bare):
        found["background"] = nearest_neighbours(
            np.array(bare, dtype=np.float64), label, group, *how
        )
    frames = [
        np.concatenate([side.frames for side in sides_of])[:MOST_FRAMES].astype(np.float64)
        for sides_of in ([side for _, side in reals.values()], [side for _, side in sides])
    ]
    groups = sorted({pair.group for pair in pairs})
    first = set(groups[::2])
    halves: list[list[NDArray]] = [[], []]
    for pair, side in reals.values():
        halves[pair.group not in first].append(side.frames)
    floor = [np.concatenate(h).astype(np.float64) if h else frames[0][:0] for h in halves]
    return found | _distances(frames, "", config.seed) | _distances(floor, "_floor", config.seed)


def _distances(frames: Sequence[Floats], suffix: str, seed: int) -> dict[str, Measure]:
    """Frechet and kernel distance of two sets of frames, null where they hold too few."""
    width = frames[0].shape[1]
    count = min(len(rows) for rows in frames)
    enough = count >= ROWS_A_DIMENSION * width
    few = f"{count} frames, {ROWS_A_DIMENSION * width} needed"
    some = f"{count} frames, {KERNEL_LEAST} needed"
    return {
        f"frechet{suffix}": Measure(frechet_distance(*frames))
        if enough
        else Measure(None, note=few),
        f"kernel{suffix}": Measure(kernel_distance(frames[0], frames[1], seed))
        if count >= KERNEL_LEAST
        else Measure(None, note=some),
    }


def _places(feature: Floats, seed: int) -> dict[str, Floats]:
    """t-SNE and the two main components of (R, D) features, nothing of fewer than five."""
    from unmask.pipeline.reports.feature_map import embed

    if len(feature) < 5:
        return {}
    ready = unit(feature)
    centred = ready - ready.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    main = left[:, :2] * size[:2]
    # The sign of a component is free: its largest value is made positive.
    main = main * np.sign(main[np.abs(main).argmax(axis=0), [0, 1]] + 1e-300)
    return {"t-SNE": embed(ready.astype(np.float32), seed), "PCA": main}
