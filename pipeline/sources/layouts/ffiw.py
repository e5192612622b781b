"""FFIW-10K: several people in view, some of them swapped; `source/` is real and `target/` fake.

The owners' folders name the splits; copies without them have the split in front of the name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.errors import ListError
from unmask.pipeline.records import FAKE, REAL, SPLITS, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import child, list_media, nested_root, stem_of
from unmask.pipeline.sources.metadata import read_json

FOLDERS = {"source": REAL, "target": FAKE}
NAME = re.compile(r"(train|val|test)_0*([0-9]+)", re.IGNORECASE)


def discover(root: Path, options: SourceOptions) -> Dataset:
    """All videos of both folders; a fake's original is told by the pair lists alone.

    Raises: UsageError for a pair list that cannot be read.
    """
    root = nested_root(root, FOLDERS)
    finds = Finds("ffiw", root, options)
    originals = _originals(root, options.splits)
    for folder, label in FOLDERS.items():
        base = child(root, folder)
        listing = list_media(root, base.relative_to(root).as_posix())
        finds.ignored += listing.ignored
        for relative in listing.media:
            _add(finds, relative, folder, label, originals)
    if not originals:
        finds.notes.append("no pair lists (train.json, val.json, test.json): no fake has a pair")
    finds.expected = [
        *(Expected(10_000, label) for label in (REAL, FAKE)),
        *(Expected(count, FAKE, split=split) for split, count in COUNTS.items()),
    ]
    return finds.dataset()


COUNTS = {"train": 8_000, "val": 1_000, "test": 1_000}


def _add(
    finds: Finds, relative: str, folder: str, label: int, originals: dict[tuple[str, int], int]
) -> None:
    stem = stem_of(relative)
    name, inner = NAME.fullmatch(stem), [part.casefold() for part in relative.split("/")[1:-1]]
    split = next((part for part in inner if part in SPLITS), name[1].casefold() if name else "")
    if not split:
        finds.unlisted.append(relative)
        return
    number = int(name[2]) if name else None
    original = originals.get((split, number)) if label == FAKE and number is not None else None
    derived = finds.options.split_ratio is not None
    video = Video(
        dataset="ffiw",
        key=f"{folder}/{split}/{stem}",
        video_id="",
        path=finds.root / relative,
        label=label,
        method="FFIW" if label == FAKE else "real",
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        # Nobody says who is seen: what has one number stays together.
        group=f"{split}/{original if original is not None else number if name else stem}",
        video_fake=label == FAKE,
    )
    if original is not None and name:
        digits = len(stem) - len(name[1]) - 1
        video = replace(video, pair=f"source/{split}/{name[1]}_{original:0{digits}d}")
    finds.add(video)


def _originals(root: Path, given: Path | None) -> dict[tuple[str, int], int]:
    """(split, number of a fake) -> number of its original, of the lists that are there."""
    found: dict[tuple[str, int], int] = {}
    for split in SPLITS:
        for folder in (given,) if given else (root, root / "splits"):
            path = folder / f"{split}.json"
            if not path.is_file():
                continue
            for pair in read_json(path, list):
                try:
                    original, fake = (int(number) for number in pair)
                except (TypeError, ValueError):
                    raise ListError(
                        f"ffiw: {str(path)!r}: {pair!r:.60} is not [source number, target number]"
                    ) from None
                found[split, fake] = original
            break
    return found


SOURCE = Source(
    name="ffiw",
    title="FFIW-10K",
    kind="videos of several people",
    size="10,000 reals, 10,000 fakes",
    access="form at github.com/tfzhou/FFIW",
    licence="research",
    tasks="detection with several faces in view",
    tree="""\
FFIW10K-v1-release/
  source/{train,val,test}/train_00000001.mp4     reals
  target/{train,val,test}/train_00000001.mp4     fakes
  train.json, val.json, test.json                pairs [source number, target number], if any""",
    labels="the folder; of a fake only some faces are swapped",
    splits="official: the folder, or the word in front of the name",
    discover=discover,
    aliases=("ffiw10k",),
)
