"""DFDC, full: training parts with metadata.json, labelled validation and test folders with
labels.csv.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import list_media, natural, stem_of, strip_extension
from unmask.pipeline.sources.metadata import read_json, read_rows, truth_of

PART = re.compile(r"dfdc_train_part_?0*([0-9]+)")
OFFICIAL = {"test": "test", "validation": "val"}
WORDS = {"REAL": REAL, "FAKE": FAKE}
LABELS = {"0": REAL, "1": FAKE, **WORDS}
VAL_PARTS, TEST_PARTS = range(35, 40), range(40, 50)
SAMPLE = "train_sample_videos"


@dataclass(frozen=True)
class Part:
    """One folder with labels: rows are file name -> (label, original's file name or None)."""

    folder: str
    rows: dict[str, tuple[int, str | None]]
    number: int | None = None


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Videos of every folder with labels; split by training part, or by official folders where they
    have labels.

    Raises: UsageError when no folder has labels, or one has a list that cannot be read.
    """
    finds = Finds("dfdc", root, options)
    parts = _parts(finds)
    has = {OFFICIAL.get(part.folder.rpartition("/")[2]) for part in parts}
    for part in parts:
        split, origin = _split(part, has, options)
        _add_part(finds, part, split, origin)
    if options.split_ratio is None and any(part.number is not None for part in parts):
        val = "the validation folder" if "val" in has else "training parts 35-39"
        test = "the test folder" if "test" in has else "training parts 40-49"
        finds.notes.append(
            f"val is {val}, test is {test}; say which in a paper, 'DFDC' means several things"
        )
    finds.expected = [Expected(119_154, split="train")]
    return finds.dataset()


def _parts(finds: Finds) -> list[Part]:
    """Folders below the root with metadata.json or labels.csv, in order; the Kaggle sample only
    without the parts.
    """
    folders = sorted(
        {path.parent for path in _lists(finds.root)}, key=lambda path: natural(path.as_posix())
    )
    parts = []
    for folder in folders:
        name = folder.relative_to(finds.root).as_posix()
        rows = _rows(finds, folder)
        match = PART.search(name)
        if rows:
            parts.append(Part("" if name == "." else name, rows, int(match[1]) if match else None))
        else:
            finds.notes.append(f"{name}: no labels there, not used")
    if any(part.number is not None for part in parts) and any(
        part.folder.endswith(SAMPLE) for part in parts
    ):
        finds.notes.append(f"{SAMPLE} repeats videos of the training parts and is not used")
        parts = [part for part in parts if not part.folder.endswith(SAMPLE)]
    return parts


def _lists(root: Path) -> list[Path]:
    """The list files at most three levels deep; the videos themselves are not walked for this."""
    places = [
        depth + name for depth in ("", "*/", "*/*/") for name in ("metadata.json", "labels.csv")
    ]
    return [path for place in places for path in root.glob(place)]


def _rows(finds: Finds, folder: Path) -> dict[str, tuple[int, str | None]]:
    labels = folder / "labels.csv"
    if labels.is_file():
        return {
            row["filename"]: (LABELS[row["label"].upper()], None)
            for _, row in read_rows(labels)
            if _good(finds, labels, row)
        }
    rows, bad = {}, 0
    for name, value in read_json(folder / "metadata.json", dict).items():
        label = _label(value)
        if label is None:
            bad += 1
            continue
        try:
            rows[name] = (label, _original(value.get("original")))
        except ValueError as error:
            finds.problems.append(f"{folder.name}/metadata.json: {name!r} is left out: {error}")
    if bad and rows:
        finds.problems.append(
            f"{folder.name}/metadata.json: {bad} videos without a label REAL or FAKE"
        )
    return rows


def _label(value: object) -> int | None:
    """Of one video's entry: `label` in the training parts, `is_fake` in the released test set."""
    if not isinstance(value, dict):
        return None
    label, fake = value.get("label"), truth_of(value.get("is_fake"))
    if isinstance(label, str):
        return WORDS.get(label.upper())
    return None if fake is None else FAKE if fake else REAL


def _original(value: object) -> str | None:
    """The original's file name; whoever sends the table through pandas leaves NaN where there is
    none.

    Raises: ValueError for what is no name.
    """
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value if value.strip().casefold() not in ("", "nan", "null", "none") else None
    raise ValueError(f"its original is {reprlib.repr(value)}, not a file name")


def _good(finds: Finds, path: Path, row: dict[str, str]) -> bool:
    if row.get("filename") and row.get("label", "").upper() in LABELS:
        return True
    finds.problems.append(
        f"{path.parent.name}/{path.name}: a row is not '<filename>,<0, 1, REAL or FAKE>': {row!r}"
    )
    return False


def _split(part: Part, has: set[str | None], options: SourceOptions) -> tuple[str, str]:
    official = OFFICIAL.get(part.folder.rpartition("/")[2])
    if options.split_ratio is not None or (part.number is None and official is None):
        return "none", "derived"
    if official:
        return official, "official"
    if part.number in TEST_PARTS and "test" not in has:
        return "test", "derived"
    return ("val" if part.number in VAL_PARTS and "val" not in has else "train"), "derived"


def _add_part(finds: Finds, part: Part, split: str, origin: str) -> None:
    listing = list_media(finds.root, part.folder)
    finds.ignored += [
        item for item in listing.ignored if not item[0].endswith(("metadata.json", "labels.csv"))
    ]
    # Nested parts list their own videos; only what no deeper list owns belongs here.
    found = {relative.rpartition("/")[2]: relative for relative in listing.videos}
    originals = defaultdict(
        str, {name: strip_extension(original or name) for name, (_, original) in part.rows.items()}
    )
    prefix = f"{part.folder}/" if part.folder else ""
    for name, (label, original) in part.rows.items():
        relative = found.pop(name, None)
        video = Video(
            dataset="dfdc",
            key=prefix + strip_extension(name),
            video_id="",
            path=finds.root / (relative or prefix + name),
            label=label,
            method="DFDC" if label == FAKE else "real",
            split=split,
            split_origin=origin,
            pair=prefix + strip_extension(original) if original else None,
            group=f"part-{part.number}" if part.number is not None else prefix + originals[name],
            video_fake=None if label == FAKE else False,
            audio_fake=None if label == FAKE else False,
        )
        finds.add(video, present=relative is not None)
    finds.unlisted += [relative for relative in found.values() if stem_of(relative)]


SOURCE = Source(
    name="dfdc",
    title="Deepfake Detection Challenge (full)",
    kind="audio-visual videos",
    size="119,154 training clips of 10 s, 4,000 validation, 5,000 released test videos",
    access="ai.meta.com/datasets/dfdc (account) or the Kaggle competition",
    licence="non-commercial research",
    tasks="detection",
    tree="""\
<root>/
  dfdc_train_part_0/ ... dfdc_train_part_49/     metadata.json and <10 letters>.mp4
  test/         labels.csv, or metadata.json with is_fake, and videos
  validation/   labels.csv and videos
  train_sample_videos/ metadata.json             (Kaggle sample, used only without the parts)""",
    labels="metadata.json REAL or FAKE or is_fake, labels.csv 1 fake; a FAKE may be fake in its "
    "sound only, nobody says which",
    splits="official validation/ and test/ where they have labels, else training parts 35-39 are "
    "val and 40-49 test; "
    "groups are the parts",
    discover=discover,
    aliases=("dfdcfull", "deepfakedetectionchallenge"),
)
