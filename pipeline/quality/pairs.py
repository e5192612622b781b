"""Which cached fake belongs to which cached original, clip by clip, and why the others do not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import QualityConfig
from unmask.pipeline.errors import CacheError, ManifestError, UsageError
from unmask.pipeline.records import FAKE

# Why a fake, or a clip of it, cannot be compared, and what to do.
REASONS = {
    "no_original": "the cache has no original of it: extract the originals with the same settings, "
    "and fakes again after them",
    "stretched": "it is fake in parts or stretched in time: its frames are not its original's",
    "only_sound": "its picture is its original's, only the sound is forged",
    "size_differs": "its picture has another size than its original's",
    "other_window": "it was cut at other frames than its original: extract with --pair-boxes",
    "other_transform": "it was cut at other places than its original: extract with --pair-boxes",
    "damaged": "its crops cannot be read: `verify --repair`",
    "no_masks": "the cache has no masks of it: extract with --masks, or another --mask",
}
# Transforms that differ by less, in px of the crop, are the same.
SAME = 1e-4


@dataclass(frozen=True)
class Pair:
    """A fake and its original in the cache. clips: (clip of the fake, clip of the original).

    dropped: reason -> clips of the fake that the original does not show.
    """

    fake: Path
    original: Path
    video_id: str
    method: str
    compression: str
    group: str
    masks: bool
    clips: tuple[tuple[int, int], ...]
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[str, str]:
        """Method and compression: what is rated together."""
        return self.method, self.compression


@dataclass(frozen=True)
class Pairs:
    """pairs: those chosen. refused: (method, compression) -> reason -> fakes. found: fakes with an
    original, chosen or not. videos: cached fakes.
    """

    pairs: tuple[Pair, ...]
    refused: dict[tuple[str, str], dict[str, int]]
    found: dict[tuple[str, str], int]
    key: str


def find_pairs(dataset: str, config: QualityConfig, methods: Sequence[str] = ()) -> Pairs:
    """The pairs of a data set's cache folder.

    methods: only these, all where empty.
    Raises UsageError where the cache has no such folder, or several and config names none.
    """
    parent = _folder(Path(config.cache), dataset, config.key)
    originals: dict[str, list[_Cut]] = defaultdict(list)
    fakes: list[_Cut] = []
    refused: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for path in sorted(parent.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            cut = _cut_of(path)
        except (CacheError, ManifestError):
            refused["", ""]["damaged"] += 1
            continue
        if cut.label != FAKE:
            originals[cut.key].append(cut)
        elif not methods or cut.method in methods:
            fakes.append(cut)
    found: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for fake in fakes:
        kind = (fake.method, fake.compression)
        pair = _pair(fake, originals.get(fake.pair, []), config)
        if isinstance(pair, str):
            refused[kind][pair] += 1
        else:
            found[kind].append(pair)
    chosen = [p for kind in sorted(found) for p in _chosen(found[kind], config.pairs, config.seed)]
    return Pairs(
        tuple(chosen),
        {kind: dict(counts) for kind, counts in sorted(refused.items())},
        {kind: len(pairs) for kind, pairs in sorted(found.items())},
        parent.name,
    )


def _folder(cache: Path, dataset: str, key: str) -> Path:
    parent = cache / dataset
    there = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
    there = [name for name in there if not name.startswith(".")]
    if key and key not in there:
        raise UsageError(f"{parent}: has no crops of key {key!r:.80}; there are {', '.join(there)}")
    if not there:
        raise UsageError(
            f"{parent}: no crops; extract with --pair-boxes --masks, originals and fakes, first"
        )
    if not key and len(there) > 1:
        raise UsageError(
            f"{parent}: crops of several settings; name one with --key: {', '.join(there)}"
        )
    return parent / (key or there[0])


@dataclass(frozen=True)
class _Cut:
    """What of a cached video says where and when it was cut: little, for many thousands are held.

    shape: (N, T, S, S, 3). size: of the video's picture. frames: (N, T). transforms: (N, 2, 3).
    window: (N,). excluded: why it is compared with nothing, or "".
    """

    folder: Path
    label: int
    key: str
    pair: str
    method: str
    compression: str
    group: str
    masks: bool
    excluded: str
    shape: tuple[int, ...]
    size: tuple[object, object]
    frames: NDArray[np.int64]
    window: NDArray[np.int64]
    transforms: NDArray[np.float32]


def _cut_of(folder: Path) -> _Cut:
    """Raises CacheError for a video that is damaged or says too little."""
    video = open_video(folder)
    told = video.attributes
    media = told.get("media") or {}
    silent = told.get("video_fake") is False and video.label == FAKE
    partly = told.get("fake_spans") or told.get("fake_frames")
    return _Cut(
        folder=folder,
        label=video.label,
        key=video.key,
        pair=str(told.get("pair") or ""),
        method=str(told.get("method") or ""),
        compression=str(told.get("compression") or ""),
        group=str(told.get("group") or ""),
        masks="masks" in video.arrays,
        excluded="only_sound" if silent else "stretched" if partly else "",
        shape=video.shape,
        size=(media.get("width"), media.get("height")),
        frames=video.frame_numbers,
        window=video.windows,
        transforms=video.transforms,
    )


def _pair(fake: _Cut, originals: Sequence[_Cut], config: QualityConfig) -> Pair | str:
    """A fake beside the person of its original whose places most of its clips have, or why none."""
    if fake.excluded:
        return fake.excluded
    if not originals:
        return "no_original"
    if config.mask == "published" and not fake.masks:
        return "no_masks"
    compared = [(_common(fake, original), original) for original in originals]
    (clips, dropped), original = max(compared, key=lambda one: len(one[0][0]))
    if not clips:
        return dropped.most_common(1)[0][0]
    if config.clips and len(clips) > config.clips:
        places = np.rint(np.linspace(0, len(clips) - 1, config.clips)).astype(int)
        clips = [clips[place] for place in places]
    return Pair(
        fake=fake.folder,
        original=original.folder,
        video_id=fake.folder.name,
        method=fake.method,
        compression=fake.compression,
        group=fake.group or original.folder.name,
        masks=fake.masks,
        clips=tuple(clips),
        dropped=dict(dropped),
    )


def _common(fake: _Cut, original: _Cut) -> tuple[list[tuple[int, int]], Counter[str]]:
    """Clips cut at the same frames and places, and how many of the fake's are not."""
    if fake.size != original.size or fake.shape[1:] != original.shape[1:]:
        return [], Counter({"size_differs": fake.shape[0]})
    windows = {window: clip for clip, window in enumerate(original.window.tolist())}
    clips, dropped = [], Counter[str]()
    for mine, window in enumerate(fake.window.tolist()):
        theirs = windows.get(window)
        if theirs is None or (fake.frames[mine] != original.frames[theirs]).any():
            dropped["other_window"] += 1
        elif np.abs(fake.transforms[mine] - original.transforms[theirs]).max() > SAME:
            dropped["other_transform"] += 1
        else:
            clips.append((mine, theirs))
    return clips, dropped


def _chosen(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """At most so many, leakage group by group in a drawn order, sorted by name."""
    names = sorted({pair.group for pair in pairs})
    rank = dict(zip(names, np.random.default_rng(seed).permutation(len(names)), strict=True))
    ordered = sorted(pairs, key=lambda pair: (rank[pair.group], pair.video_id))
    return sorted(ordered[: most or None], key=lambda pair: pair.video_id)
