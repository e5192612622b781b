"""AV-Deepfake1M and ++: one JSON list per labelled split; names differ from LAV-DF, stems repeat
in every folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.fake_spans import clipped
from unmask.pipeline.sources.finds import Finds, label_of
from unmask.pipeline.sources.listing import list_media, nested_root, strip_extension
from unmask.pipeline.sources.metadata import read_json, read_lines

LISTS = {"train": "train_metadata.json", "val": "val_metadata.json"}
# modify_type -> (picture fake, voice fake)
TYPES = {
    "real": (False, False),
    "visual_modified": (True, False),
    "audio_modified": (False, True),
    "both_modified": (True, True),
}
SPANS = {"visual": "visual_fake_segments", "audio": "audio_fake_segments", "any": "fake_segments"}
SPEAKER = re.compile(r"id[0-9]+")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video of the train and val metadata; the labels of test are not public, so it cannot be
    used.

    Raises: UsageError when neither metadata file is there.
    """
    root = nested_root(root, LISTS.values())
    present = {split: root / name for split, name in LISTS.items() if (root / name).is_file()}
    if not present:
        raise UsageError(f"avdeepfake1m: no {' or '.join(LISTS.values())} in {str(root)!r}")
    finds = Finds("avdeepfake1m", root, options)
    for split, path in present.items():
        _add_split(finds, split, path)
    for split in LISTS.keys() - present.keys():
        finds.notes.append(f"{LISTS[split]} is not there: no {split} videos")
    if (root / "test_files.txt").is_file():
        tests = len(read_lines(root / "test_files.txt"))
        finds.notes.append(f"{tests} test videos are not used: their labels are not public")
    finds.expected = [Expected(746_180, split="train"), Expected(57_340, split="val")]
    return finds.dataset()


def _add_split(finds: Finds, split: str, path: Path) -> None:
    listing = list_media(finds.root, split)
    finds.ignored += listing.ignored
    found = set(listing.videos)
    bad = wrong = 0
    for row in read_json(path, list):
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("modify_type"), str)
            or row["modify_type"] not in TYPES
            or not isinstance(row.get("file"), str)
        ):
            bad += 1
            continue
        relative = _below(split, row["file"])
        video, beyond = _record(finds, split, relative, row)
        wrong += beyond
        finds.add(video, present=relative in found)
        found.discard(relative)
    finds.unlisted += found
    if bad:
        finds.problems.append(f"{path.name}: {bad} rows without file or a known modify_type")
    if wrong:
        finds.notes.append(
            f"{path.name}: {wrong} fake segments are malformed or empty; left out or clipped"
        )


def _below(split: str, file: str) -> str:
    """`file` is relative to the split folder in some releases and to the root in others."""
    return file if file.startswith(f"{split}/") else f"{split}/{file}"


def _record(finds: Finds, split: str, relative: str, row: dict) -> tuple[Video, int]:
    mode = finds.options.label_mode
    video_fake, audio_fake = TYPES[row["modify_type"]]
    label = label_of(video_fake, audio_fake, mode)
    spans, wrong = clipped(row.get(SPANS[mode]), None)
    derived = finds.options.split_ratio is not None
    original = _below(split, row["original"]) if isinstance(row.get("original"), str) else None
    speaker = next((part for part in relative.split("/") if SPEAKER.fullmatch(part)), None)
    return Video(
        dataset=finds.name,
        key=strip_extension(relative),
        video_id="",
        path=finds.root / relative,
        label=label,
        method=row["modify_type"],
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        target=speaker,
        pair=strip_extension(original) if original and original != relative else None,
        group=speaker or strip_extension(original or relative),
        video_fake=video_fake,
        audio_fake=audio_fake,
        fake_spans=spans if label == FAKE else (),
    ), wrong


SOURCE = Source(
    name="avdeepfake1m",
    title="AV-Deepfake1M and ++",
    kind="audio-visual videos",
    size="286,721 reals, 860,039 fakes (++: about 2M videos)",
    access="EULA of the 1M-Deepfakes challenge, gated Hugging Face",
    licence="CC BY-NC 4.0",
    tasks="temporal localisation, audio-visual detection",
    tree="""\
<root>/
  train_metadata.json   train/<idXXXXX>/<youtube id>/<utterance>/real.mp4, fake_video_..., ...
  val_metadata.json     val/...
  test_files.txt        test/...        (no public labels)""",
    labels="modify_type by --label-mode; spans of the same modality (visual, audio or all "
    "segments)",
    splits="official train and val; test has no labels; groups are speakers",
    discover=discover,
    aliases=("avdeepfake1mpp", "avdeepfake1m++", "avd1m"),
)
