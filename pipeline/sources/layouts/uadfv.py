"""UADFV: 49 reals and 49 FakeApp swaps; usually all test."""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import child, list_media, nested_root, stem_of

SUFFIX = "_fake"


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Videos of real/ and fake/ (frame folders where there are no videos); the pair of `0000_fake`
    is `0000`.
    """
    root = nested_root(root, ("fake", "real"))
    finds = Finds("uadfv", root, options)
    derived = options.split_ratio is not None
    for folder, label in (("real", REAL), ("fake", FAKE)):
        listing = list_media(root, child(root, folder).relative_to(root).as_posix())
        finds.ignored += listing.ignored
        for relative in listing.videos or listing.folders:
            stem = stem_of(relative)
            number = stem.removesuffix(SUFFIX)
            finds.add(
                Video(
                    dataset=finds.name,
                    key=f"{folder}/{stem}",
                    video_id="",
                    path=root / relative,
                    label=label,
                    method="FakeApp" if label == FAKE else "real",
                    split="none" if derived else "test",
                    split_origin="derived" if derived else "all-test",
                    target=number,
                    pair=f"real/{number}" if label == FAKE else None,
                    group=number,
                    video_fake=label == FAKE,
                )
            )
    finds.expected = [Expected(49, REAL, sure=True), Expected(49, FAKE, sure=True)]
    return finds.dataset()


SOURCE = Source(
    name="uadfv",
    title="UADFV",
    kind="videos",
    size="49 reals, 49 fakes",
    access="form of the University at Albany group",
    licence="research",
    tasks="detection, a small cross-dataset test",
    tree="""\
<root>/
  real/0000.mp4 ... 0048.mp4
  fake/0000_fake.mp4 ... 0048_fake.mp4
Also read: real/frames/0000/ and fake/frames/0000_fake/ with pictures, where no videos are.""",
    labels="by folder; the pair of fake/0000_fake is real/0000",
    splits="all test; --split-ratio splits by pair",
    discover=discover,
)
