"""DeepFakeDetection (DFD): actors filmed in scenes, distributed by the FF++ script; no official
split.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.layouts.ffpp_tree import (
    MARKERS,
    check_flat,
    compression_of,
    is_official_tree,
    list_copy,
    list_leaf,
    masks_of,
)
from unmask.pipeline.sources.listing import child, nested_root, stem_of

METHOD = "DeepFakeDetection"
# Public copies: two folders side by side, the fakes' once more inside itself; and FF++ with its
# methods side by side, DeepFakeDetection among them and no actors.
COPIED_REALS = ("DFD_original sequences", "DFD_original_sequences", "actors")
COPIED_FAKES = ("DFD_manipulated_sequences", "DFD_manipulated sequences", METHOD)
REAL_NAME = re.compile(r"([0-9]+)__(.+)")
FAKE_NAME = re.compile(r"([0-9]+)_([0-9]+)__(.+)__([A-Za-z0-9]{8})")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Reals of `actors`, fakes of `DeepFakeDetection`; all test unless a split ratio is given.

    Names are read from the double underscores: `<target>_<source>__<scene>__<8 characters>`.
    """
    root = nested_root(root, MARKERS)
    official = is_official_tree(root)
    root = root if official else nested_root(root, (*COPIED_REALS, *COPIED_FAKES))
    finds = Finds("dfd", root, options)
    finds.people = "keep"
    compression = compression_of(options.compression)
    if official:
        originals = child(root, "original_sequences")
        manipulated = child(root, "manipulated_sequences")
        reals = list_leaf(root, (child(originals, "actors"),), compression)
        fakes = list_leaf(root, (child(manipulated, METHOD),), compression)
    else:
        check_flat("dfd", root, compression, finds.notes)
        reals = list_copy(root, child(root, *COPIED_REALS), compression)
        fakes = list_copy(root, child(root, *COPIED_FAKES), compression)
    finds.ignored = reals.ignored + fakes.ignored
    masks = masks_of(root, METHOD, compression)
    for relative in reals.media:
        _add(finds, relative, REAL_NAME.fullmatch(stem_of(relative)), compression, None)
    for relative in fakes.media:
        stem = stem_of(relative)
        _add(finds, relative, FAKE_NAME.fullmatch(stem), compression, masks.get(stem))
    finds.notes.append(
        "groups are target actors; the donor may be in another split (--strict drops those)"
    )
    finds.expected = [Expected(363, REAL, sure=True), Expected(3068, FAKE, sure=True)]
    return finds.dataset()


def _add(
    finds: Finds, relative: str, match: re.Match[str] | None, compression: str, mask: Path | None
) -> None:
    if match is None:
        finds.unlisted.append(relative)
        return
    real = match.re is REAL_NAME
    target, scene = match[1], match[2 if real else 3]
    derived = finds.options.split_ratio is not None
    finds.add(
        Video(
            dataset="dfd",
            key=f"{'actors' if real else METHOD}/{compression}/{stem_of(relative)}",
            video_id="",
            path=finds.root / relative,
            label=REAL if real else FAKE,
            method="real" if real else METHOD,
            compression=compression,
            split="none" if derived else "test",
            split_origin="derived" if derived else "all-test",
            target=target,
            source=None if real else match[2],
            pair=None if real else f"actors/{compression}/{target}__{scene}",
            group=target,
            mask=mask,
            video_fake=not real,
        )
    )


SOURCE = Source(
    name="dfd",
    title="DeepFakeDetection (Google/Jigsaw)",
    kind="videos",
    size="fakes c23 22 GB, c40 3 GB, raw 1.6 TB; 363 reals, 3068 fakes, 28 actors",
    access="same form and script as FaceForensics++",
    licence="non-commercial research, no redistribution",
    tasks="detection, localisation by masks (some masks are cut short)",
    tree="""\
<root>/
  original_sequences/actors/{raw,c23,c40}/videos/01__talking_against_wall.mp4
  manipulated_sequences/DeepFakeDetection/{raw,c23,c40}/videos/01_02__hugging_happy__YVGY8LOK.mp4
  manipulated_sequences/DeepFakeDetection/masks/videos/...
May be the same root as ffpp. Public copies with `DFD_original sequences` and
`DFD_manipulated_sequences` side by side are read too.""",
    labels="by folder; 01_02__scene__ID shows actor 01 with the face of 02, its pair is "
    "actors/01__scene",
    splits="none official: all test; --split-ratio splits by target actor, --strict drops fakes "
    "of donors elsewhere",
    discover=discover,
    aliases=("deepfakedetection",),
)
