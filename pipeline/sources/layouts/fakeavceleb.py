"""FakeAVCeleb: picture, voice or both are fake; meta_data.csv has its folders in an unnamed last
column.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.records import FAKE, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, label_of
from unmask.pipeline.sources.listing import (
    list_media,
    natural,
    nested_root,
    stem_of,
    strip_extension,
)
from unmask.pipeline.sources.metadata import find_file, read_rows

LISTS = ("meta_data.csv", "metadata.csv")
# What copies without the table say of a fake: the end of its name.
ENDS = {"wavtolip": "wav2lip", "wav2lip": "wav2lip", "faceswap": "faceswap", "fsgan": "fsgan"}
DONOR = re.compile(r"id[0-9]{5}")
# type of the owners -> (picture fake, voice fake)
TYPES = {
    "RealVideo-RealAudio": (False, False),
    "RealVideo-FakeAudio": (False, True),
    "FakeVideo-RealAudio": (True, False),
    "FakeVideo-FakeAudio": (True, True),
}


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every row of meta_data.csv joined with the disk by folder and file name; the type folder
    gives the labels, also of copies that lost the table.

    A fake voice over a real picture is real for label_mode visual, fake for audio and any.
    """
    root = nested_root(root, TYPES)
    finds = Finds("fakeavceleb", root, options)
    finds.people = "keep"
    path = find_file(LISTS, root, root.parent)
    found: set[str] = set()
    for folder in TYPES:
        listing = list_media(root, folder)
        found.update(listing.videos)
        finds.ignored += listing.ignored
    if path is None:
        finds.notes.append(f"no {LISTS[0]}: labels are those of the type folders, methods of names")
    bad = 0
    for row in _rows(path, found):
        relative = _relative(row)
        if relative is None:
            bad += 1
            continue
        finds.add(_record(finds, relative, row), present=relative in found)
        found.discard(relative)
    finds.unlisted = list(found)
    if bad:
        finds.problems.append(f"{LISTS[0]}: {bad} rows without one of the four type folders")
    finds.expected = [
        Expected(500, method="real"),
        Expected(9709 + 10835, FAKE),
    ]
    return finds.dataset()


def _rows(path: Path | None, found: set[str]) -> list[dict[str, str]]:
    """Rows of the table, or what the names of the files tell where there is none."""
    if path is not None:
        return [row for _, row in read_rows(path)]
    return [_told(relative) for relative in sorted(found, key=natural)]


def _told(relative: str) -> dict[str, str]:
    folder, _, name = relative.rpartition("/")
    parts = stem_of(name).split("_")
    donor = next((part for part in parts[1:] if DONOR.fullmatch(part)), "-")
    method = ENDS.get(parts[-1].casefold(), "")
    return {"": folder, "path": name, "target1": donor, "method": method}


def _relative(row: dict[str, str]) -> str | None:
    """Path below the root: the unnamed column is the folder, `path` the file name; v1.0 has all in
    `path`.
    """
    # A table that went through pandas calls its unnamed column `Unnamed: 9`, and may have the
    # numbers of its rows in another.
    unnamed = [row[name] for name in row if name == "" or name.startswith("Unnamed")]
    inner = next((text for text in unnamed if not text.isdigit()), "")
    whole = "/".join(part for part in (inner, row.get("path", "")) if part and part != "-")
    parts = [part for part in whole.replace("\\", "/").split("/") if part]
    start = next((k for k, part in enumerate(parts) if part in TYPES), None)
    return None if start is None or len(parts) < start + 2 else "/".join(parts[start:])


def _record(finds: Finds, relative: str, row: dict[str, str]) -> Video:
    kind, *middle, _ = relative.split("/")
    video_fake, audio_fake = TYPES[kind]
    person = row.get("source") or (middle[-1] if middle else stem_of(relative))
    donor = row.get("target1", "")
    original = "/".join(["RealVideo-RealAudio", *middle, stem_of(relative).split("_")[0]])
    return Video(
        dataset=finds.name,
        key=strip_extension(relative),
        video_id="",
        path=finds.root / relative,
        label=label_of(video_fake, audio_fake, finds.options.label_mode),
        method=row.get("method") or ("fake" if video_fake or audio_fake else "real"),
        target=person,
        source=donor if donor.startswith("id") else None,
        pair=original if video_fake or audio_fake else None,
        group=person,
        video_fake=video_fake,
        audio_fake=audio_fake,
    )


SOURCE = Source(
    name="fakeavceleb",
    title="FakeAVCeleb v1.2",
    kind="audio-visual videos, 224 px face crops",
    size="500 reals, about 21,000 fakes of 500 people",
    access="form at github.com/DASH-Lab/FakeAVCeleb",
    licence="research",
    tasks="detection, audio-visual detection",
    tree="""\
<root>/
  meta_data.csv                                (copies that lost it are read by their names)
  {RealVideo,FakeVideo}-{RealAudio,FakeAudio}/<race>/<gender>/<idXXXXX>/00109.mp4""",
    labels="the type folder; RealVideo-FakeAudio is real with --label-mode visual (default), "
    "fake with audio or any",
    splits="none official: by person, 70/15/15; --strict drops fakes whose donor is in another "
    "split",
    discover=discover,
    aliases=("fakeavceleb12", "favc"),
)
