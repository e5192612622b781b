"""Which cached fake belongs to which cached original, clip by clip, and why the others do not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.config import QualityConfig
from unmask.pipeline.errors import CacheError, ManifestError, UsageError
from unmask.pipeline.records import FAKE

# Why a fake, or a clip of it, cannot be compared, and what to do.
REASONS = {
    "no_original": "the cache has no original of it: extract the originals with the same settings, "
    "and fakes again after them",
    "stretched": "it is fake in parts or stretched in time: its frames are not its original's",
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
    originals: dict[str, list[CachedVideo]] = defaultdict(list)
    fakes: list[CachedVideo] = []
    refused: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for path in sorted(parent.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            video = open_video(path)
            label, key = video.label, video.key
        except (CacheError, ManifestError):
            refused["", ""]["damaged"] += 1
            continue
        if label != FAKE:
            originals[key].append(video)
        elif not methods or video.method in methods:
            fakes.append(video)
    found: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for fake in fakes:
        kind = (_text(fake, "method"), _text(fake, "compression"))
        try:
            pair = _pair(fake, originals.get(_text(fake, "pair"), []), config)
        except (CacheError, ManifestError):
            pair = "damaged"
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


def _text(video: CachedVideo, name: str) -> str:
    return str(video.attributes.get(name) or "")


def _pair(fake: CachedVideo, originals: Sequence[CachedVideo], config: QualityConfig) -> Pair | str:
    """A fake beside that person of its original whose places most of its clips have, or why none.

    Raises CacheError for attributes that are damaged.
    """
    if not originals:
        return "no_original"
    if fake.attributes.get("fake_spans") or fake.attributes.get("fake_frames"):
        return "stretched"
    if config.mask == "published" and "masks" not in fake.arrays:
        return "no_masks"
    compared = [(_common(fake, original), original) for original in originals]
    (clips, dropped), original = max(compared, key=lambda one: len(one[0][0]))
    if not clips:
        return dropped.most_common(1)[0][0] if dropped else "other_window"
    if config.clips and len(clips) > config.clips:
        places = np.rint(np.linspace(0, len(clips) - 1, config.clips)).astype(int)
        clips = [clips[place] for place in places]
    return Pair(
        fake=fake.folder,
        original=original.folder,
        video_id=fake.folder.name,
        method=_text(fake, "method"),
        compression=_text(fake, "compression"),
        group=_text(fake, "group") or original.folder.name,
        masks="masks" in fake.arrays,
        clips=tuple(clips),
        dropped=dict(dropped),
    )


def _common(fake: CachedVideo, original: CachedVideo) -> tuple[list[tuple[int, int]], Counter[str]]:
    """Clips cut at the same frames and places, and how many of the fake's are not."""
    size = [
        [video.attributes.get("media", {}).get(name) for name in ("width", "height")]
        for video in (fake, original)
    ]
    if size[0] != size[1] or fake.shape[1:] != original.shape[1:]:
        return [], Counter({"size_differs": fake.clips})
    windows = {window: clip for clip, window in enumerate(original.attributes.get("window", []))}
    frames = (fake.frame_numbers, original.frame_numbers)
    transforms = (fake.transforms, original.transforms)
    clips, dropped = [], Counter[str]()
    for mine, window in enumerate(fake.attributes.get("window", [])):
        theirs = windows.get(window)
        if theirs is None or (frames[0][mine] != frames[1][theirs]).any():
            dropped["other_window"] += 1
        elif np.abs(transforms[0][mine] - transforms[1][theirs]).max() > SAME:
            dropped["other_transform"] += 1
        else:
            clips.append((mine, theirs))
    return clips, dropped


def _chosen(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """At most so many, whole leakage groups in a drawn order, sorted by name."""
    names = sorted({pair.group for pair in pairs})
    rank = dict(zip(names, np.random.default_rng(seed).permutation(len(names)), strict=True))
    ordered = sorted(pairs, key=lambda pair: (rank[pair.group], pair.video_id))
    return sorted(ordered[: most or None], key=lambda pair: pair.video_id)
