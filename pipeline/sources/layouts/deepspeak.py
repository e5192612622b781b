"""DeepSpeak 1, 1.1 and 2: people before their webcams, and fakes of them by several engines.

Labels and people come from the release's three tables; files may lie at any depth, as its archives
leave them.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, carve_val
from unmask.pipeline.sources.listing import list_media, nested_root, strip_extension
from unmask.pipeline.sources.metadata import read_rows

TABLES = {"annotations-real.csv": REAL, "annotations-fake.csv": FAKE}
SPLIT_TABLE = "annotations-split-def.csv"
REAL_NAME = re.compile(r"([0-9]+)-([0-9]+)")
# Version 1: <engine>--<donor>-<target>--<recording of the donor>-<of the target>--<n>
FAKE_NAME = re.compile(r"(.+?)--([0-9]+)-([0-9]+)--([0-9]+)-([0-9]+)--.+")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every row of the two tables joined with the disk by file name.

    Official is the owners' split by person, train and test; val is carved from train.
    Raises: UsageError without the table of fakes.
    """
    root = nested_root(root, TABLES)
    finds = Finds("deepspeak", root, options)
    finds.people = "keep"
    if not (root / "annotations-fake.csv").is_file():
        raise UsageError(f"deepspeak: no annotations-fake.csv in {str(root)!r}")
    split_of = _splits(finds)
    listing = list_media(root)
    finds.ignored += listing.ignored
    place = {relative.rpartition("/")[2]: relative for relative in listing.media}
    bad = 0
    for name, label in TABLES.items():
        for _, row in read_rows(root / name) if (root / name).is_file() else ():
            file = (row.get("video-file") or "").replace("\\", "/").rpartition("/")[2]
            if not file:
                bad += 1
                continue
            file = file if strip_extension(file) != file else f"{file}.mp4"
            relative = place.pop(file, None)
            video = _record(finds, row, file, relative, label, split_of)
            finds.add(video, present=relative is not None)
    _unlisted(finds, place, split_of)
    if bad:
        finds.problems.append(f"{bad} rows without video-file")
    if options.split_ratio is None and split_of:
        carve_val(finds)
    finds.expected = (
        [Expected(6_796, FAKE), Expected(6_667, REAL)]
        if _is_v1(finds)
        else [Expected(7_209, FAKE), Expected(9_376, REAL)]
    )
    return finds.dataset()


def _is_v1(finds: Finds) -> bool:
    return any(FAKE_NAME.fullmatch(video.key) for video in (*finds.videos, *finds.missing))


def _splits(finds: Finds) -> dict[str, str]:
    """Person -> train or test; empty where a split of one's own is asked for."""
    path = finds.root / SPLIT_TABLE
    if finds.options.split_ratio is not None:
        return {}
    if not path.is_file():
        finds.notes.append(f"{SPLIT_TABLE} is not there: no official split")
        return {}
    return {
        row["identity"]: row["split"].casefold()
        for _, row in read_rows(path)
        if row.get("identity") and row.get("split", "").casefold() in ("train", "val", "test")
    }


def _record(
    finds: Finds,
    row: dict[str, str],
    file: str,
    relative: str | None,
    label: int,
    split_of: dict[str, str],
) -> Video:
    stem = strip_extension(file)
    name = (REAL_NAME if label == REAL else FAKE_NAME).fullmatch(stem)
    if label == REAL:
        person, donor = row.get("identity") or (name[1] if name else None), None
        recording = None
    else:
        person = row.get("identity-target") or (name[3] if name else None)
        donor = row.get("identity-source") or (name[2] if name else None)
        recording = row.get("recording-target") or (name[5] if name else None)
    engine = row.get("engine") or (name[1] if name else stem.split("-")[0])
    split = split_of.get(person or "")
    return Video(
        dataset="deepspeak",
        key=stem,
        video_id="",
        path=finds.root / (relative or file),
        label=label,
        method="real" if label == REAL else engine,
        split=split or "none",
        split_origin="official" if split else "derived",
        target=person,
        source=donor if donor != person else None,
        pair=f"{person}-{recording}" if label == FAKE and person and recording else None,
        group=person or stem,
        video_fake=label == FAKE,
    )


def _unlisted(finds: Finds, place: dict[str, str], split_of: dict[str, str]) -> None:
    """What no table names; where that of the reals is not there, a name tells a recording."""
    for file, relative in place.items():
        reals_listed = (finds.root / "annotations-real.csv").is_file()
        if not reals_listed and REAL_NAME.fullmatch(strip_extension(file)):
            finds.add(_record(finds, {}, file, relative, REAL, split_of))
        else:
            finds.unlisted.append(relative)


SOURCE = Source(
    name="deepspeak",
    title="DeepSpeak 1.1 and 2",
    kind="audio-visual videos of webcams",
    size="1.1: 6,667 reals, 6,796 fakes; 2: 9,376 reals, 7,209 fakes",
    access="gated Hugging Face, faridlab/deepspeak_v1_1 and deepspeak_v2",
    licence="free for qualifying academic institutions",
    tasks="detection of swaps, lip-sync and avatars",
    tree="""\
<root>/
  annotations-real.csv  annotations-fake.csv  annotations-split-def.csv
  .../87-0.mp4                                    reals: <person>-<recording>
  .../facefusion--10-11--4100-4897--0.mp4         version 1
  .../diff2lip-6868-6860-playht.mp4               version 2""",
    labels="which table names a video",
    splits="official by person, train and test; val is carved from train",
    discover=discover,
    aliases=("deepspeakv1", "deepspeakv2", "deepspeak11"),
)
