"""Collect what a layout finds on the disk, and turn it into records with labels, splits and safe
ids.
"""

from __future__ import annotations

import difflib
import os
import reprlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, SPLITS, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, LabelMode, SourceOptions
from unmask.pipeline.sources.listing import natural
from unmask.pipeline.sources.names import impossible_name, impossible_text, video_ids
from unmask.pipeline.sources.splits import DEFAULT_RATIO, check_ratio, split_groups


class Finds:
    """What an adapter has gathered so far; `dataset()` turns it into the finished Dataset."""

    def __init__(self, name: str, root: Path, options: SourceOptions) -> None:
        self.name, self.root, self.options = name, root, options
        # Groups are people and Video.source is one too: "keep" a fake that crosses a derived split,
        # or "drop" it.
        self.people: Literal["", "keep", "drop"] = ""
        self.videos: list[Video] = []
        self.missing: list[Video] = []
        self.unlisted: list[str] = []
        self.ignored: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.expected: list[Expected] = []

    def add(self, video: Video, *, present: bool = True) -> None:
        """Take a video in; one whose name, or whose original's, no file can have becomes a problem
        instead.
        """
        if why := impossible_name(video.key) or impossible_name(os.fspath(video.path)):
            self.problems.append(f"{reprlib.repr(video.key)} is passed over: its name {why}")
            return
        others = (video.pair, video.group, video.target, video.source)
        if why := next(filter(None, (impossible_text(other or "") for other in others)), ""):
            self.problems.append(
                f"{reprlib.repr(video.key)} is passed over: its original's or group's name {why}"
            )
            return
        (self.videos if present else self.missing).append(video)

    def dataset(self) -> Dataset:
        """Filter by method, derive the splits that are still open, give ids, sort by key.

        Raises: UsageError for an unknown method or when nothing is left.
        """
        videos, missing = self._unique()
        videos, missing = self._of_methods(videos, missing)
        if not videos and not missing:
            why = f"{self.problems[0]}; " if self.problems else ""
            raise UsageError(
                f"{self.name}: no videos under {str(self.root)!r}; {why}`datasets {self.name}` "
                "prints the expected tree"
            )
        splits = self._derived(videos + missing)
        videos, missing = (self._disjoint(part, splits) for part in (videos, missing))
        keys = [video.key for video in videos + missing]
        ids = dict(zip(keys, video_ids(keys), strict=True))
        found, lacking = (
            tuple(
                replace(v, video_id=ids[v.key], split=_split(v, splits))
                for v in sorted(part, key=lambda v: natural(v.key))
            )
            for part in (videos, missing)
        )
        return Dataset(
            self.name,
            self.root,
            found,
            lacking,
            tuple(sorted(self.unlisted, key=natural)),
            tuple(self.ignored),
            tuple(self.notes),
            tuple(self.problems),
            () if self._reduced() else tuple(self.expected),
        )

    def _reduced(self) -> bool:
        """Whether the user's options leave videos out on purpose, so that published counts say
        nothing.
        """
        options = self.options
        return (
            bool(options.methods)
            or options.strict
            or (self.people == "drop" and options.split_ratio is not None)
        )

    def _unique(self) -> tuple[list[Video], list[Video]]:
        """Found and missing videos, each key once: what is found comes first.

        Raises: UsageError for one key with two labels.
        """
        kept: dict[str, Video] = {}
        everything = [*self.videos, *self.missing]
        twice = [v for v in everything if kept.setdefault(v.key, v) is not v]
        for video in twice:
            if kept[video.key].label != video.label:
                first = kept[video.key].path
                raise UsageError(
                    f"{self.name}: {reprlib.repr(video.key)} is listed as real and as fake "
                    f"({first.name!r} and {video.path.name!r}); correct the list"
                )
        if twice:
            self.problems.append(
                f"{len(twice)} videos are there twice, e.g. {twice[0].key!r}; the first is used"
            )
        videos = [v for v in self.videos if kept[v.key] is v]
        return videos, [v for v in self.missing if kept[v.key] is v]

    def _of_methods(
        self, videos: list[Video], missing: list[Video]
    ) -> tuple[list[Video], list[Video]]:
        if not self.options.methods:
            return videos, missing
        known = sorted({v.method for v in videos + missing if v.label == FAKE})
        wanted = {nearest(name, known, "method") for name in self.options.methods}
        videos, missing = (
            [v for v in part if v.label == REAL or v.method in wanted] for part in (videos, missing)
        )
        return videos, missing

    def _derived(self, videos: Iterable[Video]) -> dict[str, str]:
        members: dict[str, list[int]] = defaultdict(list)
        for video in videos:
            if _open(video):
                members[video.group].append(video.label)
        if not members:
            return {}
        ratio = check_ratio(self.options.split_ratio or DEFAULT_RATIO)
        shares = "/".join(f"{share:g}" for share in ratio)
        self.notes.append(
            f"splits derived, not official: {len(members)} leakage groups cut {shares} with seed "
            f"{self.options.seed}"
        )
        splits = split_groups(members, ratio, self.options.seed)
        wanted = {split for split, share in zip(SPLITS, ratio, strict=True) if share > 0}
        if empty := [s for s in SPLITS if s in wanted - set(splits.values())]:
            self.notes.append(
                f"{' and '.join(empty)} stay empty: {len(members)} leakage groups are too few for "
                "all splits"
            )
        return splits

    def _disjoint(self, videos: list[Video], splits: dict[str, str]) -> list[Video]:
        """Where groups are people: what to do with a fake whose donor belongs to another derived
        split.
        """
        if not self.people or not splits:
            return videos
        crossing = {
            v.key for v in videos if v.source in splits and splits[v.source] != _split(v, splits)
        }
        if not crossing:
            return videos
        if self.people == "keep" and not self.options.strict:
            self.notes.append(
                f"{len(crossing)} fakes show a donor of another split; --strict drops them"
            )
            return videos
        self.notes.append(
            f"{len(crossing)} fakes dropped because their donor belongs to another split"
        )
        return [v for v in videos if v.key not in crossing]


def _split(video: Video, splits: dict[str, str]) -> str:
    return splits[video.group] if _open(video) else video.split


def carve_val(finds: Finds) -> None:
    """Turn some training groups into val, where the owners give train and test only; said in the
    notes.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for video in finds.videos + finds.missing:
        if video.split == "train":
            groups[video.group].append(video.label)
    share = DEFAULT_RATIO[1] / (DEFAULT_RATIO[0] + DEFAULT_RATIO[1])
    splits = split_groups(groups, (1 - share, share, 0.0), finds.options.seed)
    chosen = {group for group, split in splits.items() if split == "val"}
    for videos in (finds.videos, finds.missing):
        for place, video in enumerate(videos):
            if video.split == "train" and video.group in chosen:
                videos[place] = replace(video, split="val", split_origin="derived")
    finds.notes.append(
        f"no official val: {len(chosen)} of {len(groups)} training groups, seed "
        f"{finds.options.seed}"
    )


def _open(video: Video) -> bool:
    """Whether the adapter left the split to be derived."""
    return video.split == "none" and video.split_origin == "derived"


def nearest(name: str, known: Iterable[str], what: str) -> str:
    """`name` as it is spelt in `known`, whatever its case; UsageError with the nearest name
    otherwise.
    """
    spelling = {item.casefold(): item for item in known}
    if name.casefold() in spelling:
        return spelling[name.casefold()]
    near = difflib.get_close_matches(name.casefold(), spelling, n=1, cutoff=0.5)
    hint = (
        f"did you mean {spelling[near[0]]!r}?"
        if near
        else f"known: {', '.join(spelling.values()) or 'none'}"
    )
    raise UsageError(f"no {what} {name!r}; {hint}")


def label_of(video_fake: bool | None, audio_fake: bool | None, mode: LabelMode) -> int:
    """Label of an audio-visual video: a fake voice over an untouched picture is no visual fake
    unless asked for.
    """
    parts = {"visual": (video_fake,), "audio": (audio_fake,), "any": (video_fake, audio_fake)}[mode]
    return FAKE if any(parts) else REAL
