"""SR-DF (of the M2TR authors): not obtainable, layout unknown; read as a labelled folder with
FF++-like names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.layouts import folder
from unmask.pipeline.sources.layouts.ffpp import read_pairs
from unmask.pipeline.sources.listing import stem_of

NAME = re.compile(r"([0-9]{3})(?:_([0-9]{3}))?")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """real/ and fake/<method>/ with names `000` and `000_003`; splits by the official FF++ lists.

    Raises: UsageError for videos outside real/ and fake/, or incomplete lists (unless a split
    ratio is given).
    """
    found = folder.discover(root, replace(options, name=options.name or "srdf"))
    if options.split_ratio is not None:
        return found
    notes = ["splits by the official FF++ lists and the first id of each name"]
    split_of = {
        i: split
        for split, pairs in read_pairs(root, options.splits, notes).items()
        for pair in pairs
        for i in pair
    }
    names = {video.key: NAME.fullmatch(stem_of(video.key)) for video in found.videos}
    reals = {names[v.key][1]: v.key for v in found.videos if v.label == 0 and names[v.key]}
    kept = [v for v in found.videos if names[v.key] and split_of.get(names[v.key][1])]
    videos = tuple(
        replace(
            video,
            split=split_of[names[video.key][1]],
            split_origin="official",
            target=names[video.key][1],
            source=names[video.key][2],
            pair=reals.get(names[video.key][1]) if video.label else None,
        )
        for video in kept
    )
    unlisted = tuple(v.key for v in found.videos if v not in kept)
    return replace(found, videos=videos, unlisted=unlisted, notes=tuple(notes))


SOURCE = Source(
    name="srdf",
    title="SR-DF",
    kind="videos or picture folders",
    size="1,000 reals of FF++, 4,000 fakes of 4 methods",
    access="not obtainable: requests stay open",
    licence="unknown",
    tasks="detection",
    tree="""\
<root>/                                (layout unknown; this is what is read)
  real/000.mp4 ...
  fake/<method>/000_003.mp4 ...
  train.json val.json test.json        (the FF++ lists; or --splits DIR)""",
    labels="the nearest folder called real or fake",
    splits="official FF++ lists, by the first id of each name",
    discover=discover,
)
