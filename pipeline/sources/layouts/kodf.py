"""KoDF: Korean people filmed for it and five kinds of fakes, in the international release's folders
or with AI-Hub's tables.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import (
    child,
    list_media,
    nested_root,
    stem_of,
    strip_extension,
)
from unmask.pipeline.sources.metadata import read_rows

FOLDERS = {"original_videos": REAL, "synthesized_videos": FAKE}
# The third part of a fake's name.
METHODS = {"1": "dfl", "2": "dffs", "3": "fsgan", "4": "fo", "5": "audio-driven"}
FAKE_NAME = re.compile(r"([0-9a-f]+)_([0-9a-f]+)_([0-9])_[0-9]+", re.IGNORECASE)
REAL_NAME = re.compile(r"([0-9a-f]+)_[0-9]+", re.IGNORECASE)
# AI-Hub: 원본 original, 변조 altered, 메타데이터 metadata.
TABLE = re.compile(r"(원본|변조)영상_(training|validation)_메타데이터\.csv")
LABELS = {"원본": REAL, "변조": FAKE}
SPLITS = {"training": "train", "validation": "val"}
FILE, ORIGINAL, MODEL = "영상ID", "타겟영상", "변조모델"
PERSON, TARGET, SOURCE_PERSON = "UUID", "타겟UUID", "소스UUID"


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video of the two folders, or of AI-Hub's four tables joined with the disk by name."""
    tables = _tables(root)
    if tables:
        finds = Finds("kodf", root, options)
        _by_tables(finds, tables)
    else:
        root = nested_root(root, FOLDERS)
        finds = Finds("kodf", root, options)
        for folder, label in FOLDERS.items():
            _by_names(finds, child(root, folder), label)
    finds.people = "keep"
    finds.expected = [Expected(62_166, REAL), Expected(175_776, FAKE)]
    return finds.dataset()


def _tables(root: Path) -> list[tuple[Path, int, str]]:
    found = []
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for path in sorted(root.glob(f"{depth}*.csv")):
            # Some systems spell Hangul in parts.
            if match := TABLE.fullmatch(unicodedata.normalize("NFC", path.name)):
                found.append((path, LABELS[match[1]], SPLITS[match[2]]))
    return found


def _by_tables(finds: Finds, tables: list[tuple[Path, int, str]]) -> None:
    listing = list_media(finds.root)
    finds.ignored += listing.ignored
    place = {relative.rpartition("/")[2]: relative for relative in listing.media}
    twice = len(listing.media) - len(place)
    if twice:
        finds.problems.append(f"{twice} file names are there twice; the last is used")
    bad = 0
    for path, label, split in tables:
        for _, row in read_rows(path):
            name = row.get(FILE, "")
            if not name:
                bad += 1
                continue
            name = name if name in place or strip_extension(name) != name else f"{name}.mp4"
            relative = place.pop(name, None)
            finds.add(
                _of_row(finds, row, name, relative, label, split), present=relative is not None
            )
    finds.unlisted += place.values()
    if bad:
        finds.problems.append(f"{bad} rows without {FILE}")


def _of_row(
    finds: Finds, row: dict[str, str], name: str, relative: str | None, label: int, split: str
) -> Video:
    derived = finds.options.split_ratio is not None
    stem, original = strip_extension(name), strip_extension(row.get(ORIGINAL, ""))
    person = row.get(PERSON if label == REAL else TARGET) or None
    return Video(
        dataset="kodf",
        key=stem,
        video_id="",
        path=finds.root / (relative or name),
        label=label,
        method="real" if label == REAL else row.get(MODEL) or "fake",
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        target=person,
        source=(row.get(SOURCE_PERSON) or None) if label == FAKE else None,
        pair=original or None if label == FAKE else None,
        group=person or original or stem,
        video_fake=label == FAKE,
    )


def _by_names(finds: Finds, base: Path, label: int) -> None:
    listing = list_media(finds.root, base.relative_to(finds.root).as_posix())
    finds.ignored += listing.ignored
    for relative in listing.media:
        stem, inner = stem_of(relative), relative.split("/")[1:-1]
        name = (REAL_NAME if label == REAL else FAKE_NAME).fullmatch(stem)
        folder = inner[0] if inner else "fake"
        method = METHODS.get(name[3], folder) if name and label == FAKE else folder
        person = name[1] if name else None
        video = Video(
            dataset="kodf",
            key=strip_extension(relative),
            video_id="",
            path=finds.root / relative,
            label=label,
            method="real" if label == REAL else method,
            target=person,
            source=name[2] if name and label == FAKE else None,
            group=person or stem,
            video_fake=label == FAKE,
        )
        finds.add(video)


SOURCE = Source(
    name="kodf",
    title="KoDF",
    kind="videos, 1080p",
    size="62,166 reals of 403 people, 175,776 fakes of 5 kinds",
    access="form at github.com/deepbrainai-research/kodf; in Korea aihub.or.kr",
    licence="research",
    tasks="detection",
    tree="""\
kodf_release/
  original_videos/<person>/<person>_001.mp4
  synthesized_videos/<kind>/<date>/<person>/<person>_<donor>_<1..5>_0001.mp4
or AI-Hub's folders, at any depth, with
  {원본,변조}영상_{training,validation}_메타데이터.csv""",
    labels="the folder, or which table names a video",
    splits="none official in the release: by person, 70/15/15; AI-Hub: its training and validation",
    discover=discover,
)
